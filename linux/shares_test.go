package linux

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"sluice"
	"sluice/allocate"
	"sluice/linux/netnstest"
)

// site is a host namespace with several vifs, each of a VM that is a namespace.
type site struct {
	*testing.T
	host *netnstest.NS
	vms  []*netnstest.NS
	vifs []sluice.VIF
	htb  *HTB
}

func newSite(t *testing.T, n int, capacity sluice.Rate) *site {
	t.Helper()
	s := &site{T: t, host: netnstest.New(t)}
	for i := range n {
		vm := netnstest.New(t)
		device := fmt.Sprint("vif", i)
		s.host.Veth(device, fmt.Sprintf("192.0.2.%d/30", 4*i+1), vm, "eth0", fmt.Sprintf("192.0.2.%d/30", 4*i+2))
		s.vms = append(s.vms, vm)
		s.vifs = append(s.vifs, sluice.VIF{VM: fmt.Sprint("vm", i), Device: device})
	}
	s.host.Do(func() {
		h, err := NewHTB(slog.New(slog.DiscardHandler))
		if err == nil {
			err = h.SetCapacity(t.Context(), sluice.Capacity{Tx: capacity, Rx: capacity})
		}
		if err != nil {
			t.Fatal(err)
		}
		s.htb = h
	})
	t.Cleanup(s.htb.Close)
	return s
}

func (s *site) apply(i int, a sluice.Allocation) {
	s.Helper()
	if err := s.htb.Apply(context.Background(), s.vifs[i], sluice.Allocations{Tx: a, Rx: a}); err != nil {
		s.Fatal(err)
	}
}

// load sends in a direction of a vif until the test ends: that many TCP
// flows, or, if flows is 0, a flood of UDP at the rate.
func (s *site) load(i int, d sluice.Direction, flows int, flood sluice.Rate) {
	s.Helper()
	from, to, address := s.vms[i], s.host, fmt.Sprintf("192.0.2.%d", 4*i+1)
	if d == sluice.Rx {
		from, to, address = s.host, s.vms[i], fmt.Sprintf("192.0.2.%d", 4*i+2)
	}
	if flows == 0 {
		s.flood(from, address, flood)
		return
	}
	var l net.Listener
	var err error
	to.Do(func() { l, err = net.Listen("tcp", address+":0") })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { l.Close() })
	for range flows {
		var c net.Conn
		from.Do(func() { c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second) })
		if err != nil {
			s.Fatal(err)
		}
		sink, err := l.Accept()
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { c.Close(); sink.Close() })
		go func() { _, _ = io.Copy(io.Discard, sink) }()
		go func() {
			buf := make([]byte, 64<<10)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}()
	}
}

func (s *site) flood(from *netnstest.NS, address string, rate sluice.Rate) {
	s.Helper()
	var c net.Conn
	var err error
	from.Do(func() { c, err = net.Dial("udp", address+":9") })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 1400)
		begin, sent := time.Now(), 0.0
		for {
			due := time.Since(begin).Seconds() * float64(rate) / 8
			for ; sent < due; sent += float64(len(buf)) {
				if _, err := c.Write(buf); err != nil && net.ErrClosed.Error() == err.Error() {
					return
				} else if err != nil && s.Context().Err() != nil {
					return
				}
			}
			if s.Context().Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
}

// measure returns what passed each vif in a direction over the span, in bit/s.
func (s *site) measure(span time.Duration) map[sluice.Direction][]float64 {
	s.Helper()
	read := func() map[string]sluice.HostCounters {
		all, err := NewCounters(s.htb).Read(context.Background())
		if err != nil {
			s.Fatal(err)
		}
		return all
	}
	time.Sleep(700 * time.Millisecond) // until TCP has settled
	before, begin := read(), time.Now()
	time.Sleep(span)
	after, took := read(), time.Since(begin).Seconds()
	rates := make(map[sluice.Direction][]float64)
	for _, v := range s.vifs {
		a, b := after[v.Device], before[v.Device]
		rates[sluice.Tx] = append(rates[sluice.Tx], float64(a.Tx.Bytes-b.Tx.Bytes)*8/took)
		rates[sluice.Rx] = append(rates[sluice.Rx], float64(a.Rx.Bytes-b.Rx.Bytes)*8/took)
	}
	return rates
}

// held compares what passed with the oracle.
func (s *site) held(d sluice.Direction, got []float64, want []sluice.Rate) {
	s.Helper()
	for i := range want {
		off := got[i]/float64(want[i]) - 1
		s.Logf("%s vm%d: %.1f Mbit/s, the oracle says %.1f: %+.1f %%", d, i, got[i]/1e6, float64(want[i])/1e6, 100*off)
		if off < -0.1 || off > 0.1 {
			s.Errorf("%s vm%d: %.1f Mbit/s, the oracle says %.1f", d, i, got[i]/1e6, float64(want[i])/1e6)
		}
	}
}

// TestShares holds the kernel against the oracle, in both directions: one TCP
// flow, eight, and a flood of UDP at twice the link.
func TestShares(t *testing.T) {
	const link = 200 * sluice.Mbit
	for name, allocations := range map[string][3]sluice.Allocation{
		"1 to 50":                {{Weight: 50}, {Weight: 50}, {Weight: 1}},
		"guarantees of all":      {{Guarantee: 120 * sluice.Mbit}, {Guarantee: 40 * sluice.Mbit}, {Guarantee: 40 * sluice.Mbit}},
		"a guarantee":            {{Guarantee: 120 * sluice.Mbit}, {}, {}},
		"weights 1 to 2 to 4":    {{Weight: 100}, {Weight: 200}, {Weight: 400}},
		"the flood is least":     {{Weight: 400}, {Weight: 200}, {Weight: 100}},
		"guarantees and weights": {{Weight: 100, Guarantee: 60 * sluice.Mbit}, {Weight: 200, Guarantee: 20 * sluice.Mbit}, {Weight: 400, Guarantee: 20 * sluice.Mbit}},
		"limits":                 {{}, {Limit: 30 * sluice.Mbit}, {Limit: 50 * sluice.Mbit, Weight: 1000}},
		"small weights":          {{Weight: 1}, {Weight: 2}, {Weight: 4}},
	} {
		for _, d := range sluice.Directions {
			t.Run(name+", "+string(d), func(t *testing.T) {
				s := newSite(t, 3, link)
				claims := make([]allocate.Claim, 3)
				for i, a := range allocations {
					if a.Limit == 0 {
						a.Limit = sluice.Unlimited
					}
					if a.Weight == 0 {
						a.Weight = sluice.DefaultWeight
					}
					s.apply(i, a)
					claims[i] = allocate.Claim{Guarantee: a.Guarantee, Limit: a.Limit, Weight: a.Weight, Demand: sluice.Unlimited, Group: allocate.Host}
				}
				want, err := allocate.Share(link, claims, nil)
				if err != nil {
					t.Fatal(err)
				}
				s.load(0, d, 1, 0)
				s.load(1, d, 8, 0)
				s.load(2, d, 0, 2*link)
				s.held(d, s.measure(1500 * time.Millisecond)[d], want)
			})
		}
	}
}
