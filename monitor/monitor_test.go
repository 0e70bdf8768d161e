package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
)

// host is an inventory and counters that a test moves by hand.
type host struct {
	mu       sync.Mutex
	vifs     []sluice.VIF
	counters map[string]sluice.HostCounters
}

func newHost(n int) *host {
	h := &host{counters: map[string]sluice.HostCounters{}}
	for i := range n {
		h.vifs = append(h.vifs, sluice.VIF{VM: fmt.Sprintf("vm%d", i), MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i/256, i%256), Device: fmt.Sprintf("tap%d", i)})
	}
	h.pass(0)
	return h
}

func (h *host) VIFs() []sluice.VIF { return h.vifs }

func (h *host) Read(context.Context) (map[string]sluice.HostCounters, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]sluice.HostCounters, len(h.counters))
	for k, v := range h.counters {
		out[k] = v
	}
	return out, nil
}

func (h *host) pass(bytes uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.vifs {
		c := h.counters[v.Device]
		c.Tx.Bytes += bytes
		c.Rx.Bytes += bytes
		h.counters[v.Device] = c
	}
}

type guestFunc func(ctx context.Context, after uint64, limit int) (sluice.Samples, error)

type guest struct{ pull guestFunc }

func (g *guest) Pull(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	return g.pull(ctx, after, limit)
}

func answer(mac string, bytes uint64, at time.Time) *guest {
	return &guest{func(_ context.Context, after uint64, _ int) (sluice.Samples, error) {
		return sluice.Samples{Database: "d", Samples: []sluice.Sample{{ID: after + 1, At: at, Span: time.Second,
			NICs: []sluice.NICUsage{{Name: "eth0", MAC: mac, Tx: sluice.Counters{Bytes: bytes}}}}}}, nil
	}}
}

// TestHostileGuests has one honest guest among the worst; it alone is heard,
// and nobody's data set is late or spoilt.
func TestHostileGuests(t *testing.T) {
	h := newHost(6)
	guests := map[string]Guest{
		"vm0": answer(h.vifs[0].MAC, 1000, time.Now()),
		"vm1": &guest{func(ctx context.Context, _ uint64, _ int) (sluice.Samples, error) {
			<-ctx.Done()
			return sluice.Samples{}, ctx.Err()
		}},
		"vm2": &guest{func(context.Context, uint64, int) (sluice.Samples, error) {
			return sluice.Samples{}, fmt.Errorf("bad \x1b[31m%s", strings.Repeat("x", 1<<16))
		}},
		"vm3": answer(h.vifs[3].MAC, 1<<63, time.Now()),
		"vm4": answer(h.vifs[4].MAC, 1000, time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)),
		"vm5": &guest{func(_ context.Context, after uint64, _ int) (sluice.Samples, error) { // endless
			return sluice.Samples{Database: "d", Samples: make([]sluice.Sample, 100_000), More: true}, nil
		}},
	}
	m, err := New(Config{Interval: 100 * time.Millisecond, Inventory: h, Counters: h, Guests: func() map[string]Guest { return guests }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	slow := m.Watch(ctx) // never read until the end
	deadline := time.Now().Add(30 * time.Second)
	for {
		d := m.DataSet()
		ready := len(d.VIFs) == 6 && d.VIFs[0].Source == sluice.SourceGuest
		for _, v := range d.VIFs[min(1, len(d.VIFs)):] {
			ready = ready && strings.HasPrefix(v.Problem, "its collector was never heard: ")
		}
		if ready {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not there: %+v", d.VIFs)
		}
		time.Sleep(10 * time.Millisecond)
	}
	d := m.DataSet()
	if _, err := json.Marshal(d); err != nil {
		t.Error(err)
	}
	for _, v := range d.VIFs {
		if v.Tx.Usage != 0 || len(v.Problem) > 300 || strings.Contains(v.Problem, "\x1b") {
			t.Errorf("%s: usage %s, problem %q", v.VIF, v.Tx.Usage, v.Problem)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := <-slow; len(got.VIFs) != 6 {
		t.Errorf("the slow reader got %+v", got)
	}
	if _, open := <-slow; open {
		t.Error("the channel is still open after the end")
	}
}

// TestTick follows a vif that is measured, goes and comes back.
func TestTick(t *testing.T) {
	h := newHost(2)
	m, err := New(Config{Inventory: h, Counters: h})
	if err != nil {
		t.Fatal(err)
	}
	m.tick(t.Context())
	time.Sleep(20 * time.Millisecond)
	h.pass(1_000_000)
	m.tick(t.Context())
	if u := m.DataSet().VIFs[1].Tx.Usage; u == 0 || u > 400*sluice.Mbit {
		t.Errorf("usage %s", u)
	}
	all := h.vifs
	h.vifs = all[:1]
	m.tick(t.Context())
	h.vifs = all
	h.pass(1 << 40)
	m.tick(t.Context())
	if u := m.DataSet().VIFs[1].Tx.Usage; u != 0 {
		t.Errorf("a vif that came back has a spike of %s", u)
	}
	if r := m.Recent(60); len(r.VIFs) != 2 || len(r.At) == 0 || r.VIFs[0].Tx[0] != nil {
		t.Errorf("recent: %+v", r)
	}
}

// TestDisagree compares guests that tell the truth, and lie, on another phase than the host's.
func TestDisagree(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		name string
		said uint64 // a second; the host sees 1 MB
		want bool
	}{{"truth", 1_000_000, false}, {"headers", 955_000, false}, {"nothing", 0, true}, {"double", 2_000_000, true}} {
		var host counted
		for i := range 20 {
			host.add(start.Add(time.Duration(i)*time.Second), 1_000_000, 0)
		}
		end := start.Add(12300 * time.Millisecond)
		w := &window{span: 5 * time.Second, earliest: end.Add(-2 * time.Second), latest: end, nics: []nic{{mac: "m", tx: 5 * c.said}}}
		var d disagree
		if got := d.judge(&host, &report{window: w}, "m"); got != c.want {
			t.Errorf("%s: disagrees %v", c.name, got)
		}
	}
}

func BenchmarkTick1000(b *testing.B) {
	h := newHost(1000)
	guests := map[string]Guest{}
	m, err := New(Config{Inventory: h, Counters: h, Guests: func() map[string]Guest { return guests }})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.tick(b.Context())
	}
}
