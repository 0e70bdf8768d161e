package monitor

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"sluice"
)

const maxNICs = 64 // of one guest's sample; what is beyond is not looked at

// report is what a guest's answers came to. It is never written to again.
type report struct {
	at      time.Time // the guest's clock
	span    time.Duration
	nics    []nic     // of the newest sample, loopback left out
	heard   time.Time // when the host got it; zero if never
	window  *window   // the last stretch of samples that is whole
	failure string    // of the last pull, in words
	excess  string    // what is wrong though it is heard, in words
}

type nic struct {
	mac            string
	txRate, rxRate sluice.Rate
	tx, rx         uint64 // bytes
}

// nicsOf checks a sample and returns its interfaces. Everything in it is
// hostile: what cannot be true is refused, and nothing of unbounded length is kept.
func nicsOf(s sluice.Sample) ([]nic, error) {
	if s.Span < 10*time.Millisecond || s.Span > time.Hour {
		return nil, fmt.Errorf("a sample says it is over %s", s.Span)
	}
	// JSON has no years of more than four digits; one would spoil everybody's data set.
	if y := s.At.UTC().Year(); y < 1970 || y > 9000 {
		return nil, fmt.Errorf("a sample is of the year %d", y)
	}
	var nics []nic
	for _, n := range s.NICs[:min(len(s.NICs), maxNICs)] {
		if n.Name == "lo" {
			continue
		}
		tx, okTx := rate(n.Tx.Bytes, s.Span)
		rx, okRx := rate(n.Rx.Bytes, s.Span)
		if !okTx || !okRx {
			return nil, fmt.Errorf("a sample says that %d bytes were sent and %d received in %s", n.Tx.Bytes, n.Rx.Bytes, s.Span)
		}
		mac := n.MAC
		if len(mac) > 17 { // aa:bb:cc:dd:ee:ff
			mac = ""
		}
		nics = append(nics, nic{strings.ToLower(mac), tx, rx, n.Tx.Bytes, n.Rx.Bytes})
	}
	return nics, nil
}

// problem says in words why there is nothing fresh to show, or nothing.
func (r *report) problem(now time.Time, interval time.Duration) string {
	fresh := max(5*time.Second, 3*max(interval, min(r.span, time.Minute)))
	silent := now.Sub(r.heard)
	switch {
	case !r.heard.IsZero() && silent <= fresh:
		return ""
	case r.heard.IsZero() && r.failure == "":
		return "its collector has not answered yet"
	case r.heard.IsZero():
		return "its collector was never heard: " + r.failure
	case r.failure == "":
		return fmt.Sprintf("its collector answers, but has had no new sample for %s", silent.Round(time.Second))
	}
	return fmt.Sprintf("its collector has not been heard for %s: %s", silent.Round(time.Second), r.failure)
}

// match finds the vif among the guest's interfaces: by MAC, and where the
// host knows none, the only one of an only vif, else the one in its place.
func (r *report) match(v *vif) *nic {
	if v.MAC != "" {
		for i := range r.nics {
			if r.nics[i].mac == v.MAC {
				return &r.nics[i]
			}
		}
		return nil
	}
	switch {
	case v.only && len(r.nics) == 1:
		return &r.nics[0]
	case v.Index >= 0 && v.Index < len(r.nics):
		return &r.nics[v.Index]
	}
	return nil
}

// words makes a text from outside fit for a line on a screen.
func words(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s[:min(len(s), 200)])
	return strings.ToValidUTF8(s, "?")
}
