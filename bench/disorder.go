package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"sluice"
)

// disorder counts what TCP saw of segments that did not come in order.
type disorder struct{ reordered, dsack uint64 }

// disorder is the sum of both ends' counters (TcpExt of /proc/net/netstat).
func (s *site) disorder() (sum disorder, err error) {
	from, to, _ := s.ends(sluice.Tx)
	for _, end := range []*space{from, to} {
		err := end.do(func() error {
			text, err := os.ReadFile("/proc/thread-self/net/netstat")
			if err != nil {
				return err
			}
			d, err := parseDisorder(string(text))
			sum.reordered += d.reordered
			sum.dsack += d.dsack
			return err
		})
		if err != nil {
			return sum, fmt.Errorf("reading TCP's counters: %w", err)
		}
	}
	return sum, nil
}

// parseDisorder reads a line of names and one of values.
func parseDisorder(text string) (d disorder, err error) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		found := 0
		for i, name := range names[:min(len(names), len(f))] {
			into := &d.reordered
			switch name {
			case "TCPTSReorder", "TCPSACKReorder":
			case "TCPDSACKRecv":
				into = &d.dsack
			default:
				continue
			}
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return d, fmt.Errorf("%s: %w", name, err)
			}
			*into += n
			found++
		}
		if found == 3 {
			return d, nil
		}
	}
	return d, fmt.Errorf("it does not name TCPTSReorder, TCPSACKReorder and TCPDSACKRecv")
}
