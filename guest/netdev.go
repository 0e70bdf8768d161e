package guest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice"
)

const maxNetDev = 1 << 20 // bytes of /proc/net/dev: about 8,000 interfaces

// counters is one line of /proc/net/dev.
type counters struct {
	name   string
	tx, rx sluice.Counters
}

// parseNetDev reads the text of /proc/net/dev as the kernel prints it
// (net/core/net-procfs.c): two lines of heading, then "name: 8 numbers of what
// was received, 8 of what was sent". A name that cannot be shown is left out.
func parseNetDev(text []byte) ([]counters, error) {
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	head, rest, _ := bytes.Cut(rest, []byte("\n"))
	if f := bytes.Fields(head); len(f) < 4 || !bytes.Equal(bytes.Join(f[:4], []byte(" ")), []byte("face |bytes packets errs")) {
		return nil, fmt.Errorf("its heading is %.80q, not the one Linux prints", head)
	}
	var all []counters
	for line := range bytes.Lines(rest) {
		c, err := parseNetDevLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %.160q: %w", bytes.TrimSpace(line), err)
		}
		if validName(c.name) {
			all = append(all, c)
		}
	}
	return all, nil
}

func parseNetDevLine(line []byte) (counters, error) {
	colon := bytes.LastIndexByte(line, ':') // old kernels put no space behind it
	if colon < 0 {
		return counters{}, errors.New("no colon behind the name")
	}
	fields := bytes.Fields(line[colon+1:])
	if len(fields) != 16 {
		return counters{}, fmt.Errorf("%d numbers, want 16", len(fields))
	}
	var n [16]uint64
	for i, f := range fields {
		var err error
		if n[i], err = strconv.ParseUint(string(f), 10, 64); err != nil {
			return counters{}, err
		}
	}
	return counters{
		name: string(bytes.TrimSpace(line[:colon])),
		rx:   sluice.Counters{Bytes: n[0], Packets: n[1], Dropped: n[3]},
		tx:   sluice.Counters{Bytes: n[8], Packets: n[9], Dropped: n[11]},
	}, nil
}

// validName holds for the interface names Linux allows (dev_valid_name in
// net/core/dev.c, IFNAMSIZ) that can also be shown to a person.
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 15 || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == ':' || !unicode.IsGraphic(r) || unicode.IsSpace(r) })
}

// validMAC holds for an Ethernet address as the kernel prints it, but for the
// one of all zeros.
func validMAC(mac string) bool {
	if len(mac) != 17 || mac == "00:00:00:00:00:00" {
		return false
	}
	for i := range len(mac) {
		c := mac[i]
		if i%3 == 2 {
			if c != ':' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
