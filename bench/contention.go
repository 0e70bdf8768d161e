package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sluice"
	"sluice/allocate"
	"sluice/control"
)

// The link of the contention figures, and who is on it.
const (
	shared   = 200 * sluice.Mbit
	promised = 60 * sluice.Mbit // to the one flow
	asked    = 10 * sluice.Mbit // to the one that only asks, and waits for answers
)

// The VMs of the contention figure.
const (
	one        = iota // a TCP flow
	eight             // flows
	sixtyFour         // flows
	askingOne         // small requests
	flooding          // UDP at twice the link
	tenantsAll        // of them
)

// regime is a way to share the link among tenants.
type regime struct {
	name  string
	begin func(context.Context, *bench, *tenants) error
}

func (t *tenants) serveShared(ctx context.Context, b *bench) error {
	if err := t.serve(ctx, b); err != nil {
		return err
	}
	_, err := t.client.SetCapacity(ctx, sluice.Capacity{Tx: shared, Rx: shared})
	return err
}

// fifo makes the link one queue, in both directions: 15 ms long.
func (t *tenants) fifo(ctx context.Context) error {
	tbf := fmt.Sprintf(" root tbf rate %dbit burst 128kb limit %d", shared, shared/8*15/1000)
	if err := t.host.run(ctx, "tc qdisc add dev "+uplink+tbf); err != nil {
		return err
	}
	return t.net.run(ctx, "tc qdisc add dev eth0"+tbf)
}

var regimes = []regime{
	{"Sluice", func(ctx context.Context, b *bench, t *tenants) error {
		if err := t.serveShared(ctx, b); err != nil {
			return err
		}
		most, own, priority := sluice.Rate(promised), sluice.Rate(asked), 1
		if err := t.set(ctx, one, control.Patch{Guarantee: &most}); err != nil {
			return err
		}
		return t.set(ctx, askingOne, control.Patch{Guarantee: &own, Priority: &priority})
	}},
	{"no shaping", func(ctx context.Context, _ *bench, t *tenants) error { return t.fifo(ctx) }},
	{"limits only", func(ctx context.Context, _ *bench, t *tenants) error {
		if err := t.fifo(ctx); err != nil {
			return err
		}
		for i, vm := range t.vms { // on either side of the vif: towards the VM, and what it sends
			for dev, on := range map[string]*space{tenant(i): t.host, "eth0": vm} {
				for _, words := range []string{"tc qdisc add dev %s root handle 1: htb default 1",
					fmt.Sprintf("tc class add dev %%s parent 1: classid 1:1 htb rate %dbit ceil %dbit", shared/2, shared/2)} {
					if err := on.run(ctx, fmt.Sprintf(words, dev)); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}},
}

// contended is what one regime came to in one direction.
type contended struct {
	worst, mean float64 // of the guarantee
	use         float64 // of the link
	idle, under float64 // the request's p99.9, ms
}

// contention is what a guarantee is worth under hostile load.
func contention(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "direction", "worst 100 ms, of the guarantee", "mean", "use of the link", "request idle, p99.9 ms", "under load, p99.9 ms"}},
		Chart:  Chart{Title: "One TCP flow under hostile load: its worst 100 ms", Unit: "of what it was promised", Bars: []float64{0.98}, Groups: []string{"tx", "rx"}},
		Note: fmt.Sprintf("Five VMs on a link of %s: one TCP flow, promised %s; eight flows; 64 flows; UDP at %s; small requests, 200 bytes "+
			"each way, promised %s with priority. No shaping is one queue of 15 ms; limits only are half of the link for each, by HTB as libvirt makes it, before that queue.",
			shared, promised, 2*shared, asked),
	}
	span, idle := 60*time.Second, 20*time.Second
	if b.short {
		span, idle = 3*time.Second, 2*time.Second
	}
	got := make(map[string]contended)
	for _, by := range regimes {
		series := Series{Name: by.name}
		for _, d := range sluice.Directions {
			var c contended
			err := b.undisturbed(func() (err error) { c, err = b.contend(ctx, by, d, span, idle); return err })
			if err != nil {
				return r, fmt.Errorf("%s, %s: %w", by.name, d, err)
			}
			line := []string{by.name, string(d), percent(c.worst), percent(c.mean), percent(c.use), fmt.Sprintf("%.2f", c.idle), fmt.Sprintf("%.2f", c.under)}
			b.say("  %v", line)
			r.Detail.Rows = append(r.Detail.Rows, line)
			series.Values = append(series.Values, c.worst)
			got[by.name+string(d)] = c
		}
		r.Chart.Series = append(r.Chart.Series, series)
	}
	both := func(by regime, f func(contended) string) string {
		return fmt.Sprintf("%s tx, %s rx", f(got[by.name+"tx"]), f(got[by.name+"rx"]))
	}
	beside := func(f func(contended) string) string {
		var words []string
		for _, by := range regimes[1:] {
			words = append(words, by.name+": "+both(by, f))
		}
		return strings.Join(words, "; ")
	}
	met := func(f func(contended) bool) bool { return f(got["Sluicetx"]) && f(got["Sluicerx"]) }
	kept := func(c contended) string { return percent(c.worst) + " (mean " + percent(c.mean) + ")" }
	use := func(c contended) string { return percent(c.use) }
	slower := func(c contended) string { return fmt.Sprintf("%.2f × (%.2f ms)", c.under/c.idle, c.under) }
	r.Rows = []Row{
		{"guarantee kept by one TCP flow against 8 flows, 64 flows and a UDP flood, worst 100 ms of a minute", both(regimes[0], kept), "≥ 98 %, mean ≥ 99.5 %",
			beside(kept), met(func(c contended) bool { return c.worst >= .98 && c.mean >= .995 })},
		{"use of the link meanwhile", both(regimes[0], use), "≥ 99 %", beside(use), met(func(c contended) bool { return c.use >= .99 })},
		{"a neighbour's request and answer meanwhile, with priority: p99.9 against an idle host", both(regimes[0], slower), "≤ 1.25 ×",
			beside(slower), met(func(c contended) bool { return c.under <= 1.25*c.idle })},
	}
	return r, nil
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// contend loads a fresh site in one direction.
func (b *bench) contend(ctx context.Context, by regime, d sluice.Direction, span, idle time.Duration) (c contended, err error) {
	t, err := newTenants(tenantsAll)
	if err != nil {
		return c, err
	}
	defer t.close()
	if err := by.begin(ctx, b, t); err != nil {
		return c, err
	}
	calm, err := t.asks(ctx, askingOne, idle)
	if err != nil {
		return c, err
	}
	var loads []*load
	defer func() {
		for _, n := range loads {
			n.close()
		}
	}()
	for i, flows := range map[int]int{one: 1, eight: 8, sixtyFour: 64} {
		n, err := t.tcp(i, d, flows)
		if err != nil {
			return c, err
		}
		if loads = append(loads, n); i == one {
			loads[0], loads[len(loads)-1] = n, loads[0]
		}
	}
	n, err := t.flood(flooding, d, 2*shared)
	if err != nil {
		return c, err
	}
	loads = append(loads, n)
	if err := wait(ctx, 3*time.Second); err != nil {
		return c, err
	}
	total := func() (sum float64, err error) {
		for _, n := range loads {
			bytes, err := n.bytes()
			if err != nil {
				return 0, err
			}
			sum += bytes
		}
		return sum, nil
	}
	before, err := total()
	if err != nil {
		return c, err
	}
	begin := time.Now()
	var rates, busy []float64
	err = all(
		func() (err error) {
			rates, err = windows(ctx, loads[0], 100*time.Millisecond, int(span/(100*time.Millisecond)))
			return err
		},
		func() (err error) { busy, err = t.asks(ctx, askingOne, span); return err })
	if err != nil {
		return c, err
	}
	after, err := total()
	if err != nil {
		return c, err
	}
	c.use = (after - before) * 8 / time.Since(begin).Seconds() / float64(shared)
	c.worst = slices.Min(rates) / float64(promised)
	for _, r := range rates {
		c.mean += min(r/float64(promised), 1) / float64(len(rates))
	}
	c.idle, c.under = quantile(calm, .999), quantile(busy, .999)
	return c, nil
}

// weights is how what is spare is shared.
func weights(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "direction", "weight", "Mbit/s", "the oracle's", "off"}},
		Chart:  Chart{Title: "Spare rate by weight 1 : 2 : 4, each with a guarantee", Unit: "Mbit/s of wire, tx", Groups: []string{"weight 100", "weight 200", "weight 400"}},
		Note:   fmt.Sprintf("Three VMs of eight TCP flows each on a link of %s, each promised 20mbit; the oracle is package allocate. HTB as iproute2 sets it knows no weight but rate / r2q.", shared),
	}
	span := 20 * time.Second
	if b.short {
		span = 2 * time.Second
	}
	each := []int{100, 200, 400}
	guarantee := 20 * sluice.Mbit
	claims := make([]allocate.Claim, len(each))
	for i, w := range each {
		claims[i] = allocate.Claim{Guarantee: guarantee, Limit: sluice.Unlimited, Demand: sluice.Unlimited, Weight: w, Group: allocate.Host}
	}
	want, err := allocate.Share(shared, claims, nil)
	if err != nil {
		return r, err
	}
	ideal := Series{Name: "the oracle"}
	for _, w := range want {
		ideal.Values = append(ideal.Values, float64(w)/1e6)
	}
	measure := func(name string, d sluice.Direction, begin func(*tenants) error) (worst float64, err error) {
		var rates []float64
		err = b.undisturbed(func() (err error) {
			rates, err = b.weighed(ctx, len(each), d, span, begin)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("%s, %s: %w", name, d, err)
		}
		series := Series{Name: name}
		for i, rate := range rates {
			off := rate/float64(want[i]) - 1
			if math.Abs(off) > math.Abs(worst) {
				worst = off
			}
			series.Values = append(series.Values, rate/1e6)
			r.Detail.Rows = append(r.Detail.Rows, []string{name, string(d), fmt.Sprint(each[i]), fmt.Sprintf("%.1f", rate/1e6), fmt.Sprintf("%.1f", float64(want[i])/1e6), fmt.Sprintf("%+.1f %%", 100*off)})
			b.say("  %v", r.Detail.Rows[len(r.Detail.Rows)-1])
		}
		if d == sluice.Tx {
			r.Chart.Series = append(r.Chart.Series, series)
		}
		return worst, nil
	}
	worst := make(map[sluice.Direction]float64)
	for _, d := range sluice.Directions {
		worst[d], err = measure("Sluice", d, func(t *tenants) error {
			if err := t.serveShared(ctx, b); err != nil {
				return err
			}
			for i, w := range each {
				if err := t.set(ctx, i, control.Patch{Guarantee: &guarantee, Weight: &w}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return r, err
		}
	}
	peer, err := measure(byDefaultHTB.name, sluice.Tx, func(t *tenants) error {
		return t.classes(ctx, shared, slices.Repeat([]sluice.Rate{guarantee}, len(each)))
	})
	if err != nil {
		return r, err
	}
	r.Chart.Series = append(r.Chart.Series, ideal)
	r.Rows = []Row{{
		Figure: "excess shared by weight 1:2:4 above guarantees: the worst, against the oracle",
		Sluice: fmt.Sprintf("%+.1f %% tx, %+.1f %% rx", 100*worst[sluice.Tx], 100*worst[sluice.Rx]), Bar: "within 3 %",
		Beside: fmt.Sprintf("%s: %+.1f %% tx", byDefaultHTB.name, 100*peer),
		Met:    max(math.Abs(worst[sluice.Tx]), math.Abs(worst[sluice.Rx])) <= .03,
	}}
	return r, nil
}

// weighed is what each of some VMs, all of which want all they can get, has in a direction.
func (b *bench) weighed(ctx context.Context, n int, d sluice.Direction, span time.Duration, begin func(*tenants) error) ([]float64, error) {
	t, err := newTenants(n)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := begin(t); err != nil {
		return nil, err
	}
	loads := make([]*load, n)
	for i := range loads {
		if loads[i], err = t.tcp(i, d, 8); err != nil {
			return nil, err
		}
		defer loads[i].close()
	}
	if err := wait(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	rates := make([]float64, n)
	measures := make([]func() error, n)
	for i := range loads {
		measures[i] = func() error {
			w, err := windows(ctx, loads[i], span, 1)
			if err == nil {
				rates[i] = w[0]
			}
			return err
		}
	}
	return rates, all(measures...)
}
