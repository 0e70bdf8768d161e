package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sluice"
)

// shared is the link of the contention figure.
const shared = 200 * sluice.Mbit

// contended is what one regime came to in one direction.
type contended struct {
	worst, mean float64 // of the guarantee
	use         float64 // of the link
}

// contention is what a guarantee is worth under hostile load.
func contention(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "direction", "worst 100 ms, of the guarantee", "mean", "use of the link"}},
		Chart:  Chart{Title: "One TCP flow under hostile load: its worst 100 ms", Unit: "of what it was guaranteed", Bars: []float64{0.98}, Groups: []string{"tx", "rx"}},
		Note: fmt.Sprintf("Four VMs on a link of %s: one TCP flow, guaranteed %s; eight flows; 64 flows; UDP at %s. "+
			"No shaping is one queue of 15 ms; limits only are half of the link for each, by HTB as libvirt makes it, before that queue.", shared, guaranteed(shared), 2*shared),
	}
	span := 60 * time.Second
	if b.short {
		span = 3 * time.Second
	}
	got := make(map[string]contended)
	for _, by := range []regime{bySharing, byFIFO, byLimits} {
		series := Series{Name: by.name}
		for _, d := range sluice.Directions {
			var c contended
			err := b.undisturbed(func() (err error) { c, err = b.contend(ctx, by, d, span); return err })
			if err != nil {
				return r, fmt.Errorf("%s, %s: %w", by.name, d, err)
			}
			line := []string{by.name, string(d), percent(c.worst), percent(c.mean), percent(c.use)}
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
		return byFIFO.name + ": " + both(byFIFO, f) + "; " + byLimits.name + ": " + both(byLimits, f)
	}
	met := func(f func(contended) bool) bool { return f(got[bySharing.name+"tx"]) && f(got[bySharing.name+"rx"]) }
	kept := func(c contended) string { return percent(c.worst) + " (mean " + percent(c.mean) + ")" }
	use := func(c contended) string { return percent(c.use) }
	r.Rows = []Row{
		{"guarantee kept by one TCP flow against 8 flows, 64 flows and a UDP flood, worst 100 ms of a minute", both(bySharing, kept), "≥ 98 %, mean ≥ 99.5 %",
			beside(kept), met(func(c contended) bool { return c.worst >= .98 && c.mean >= .995 })},
		{"use of the link meanwhile", both(bySharing, use), "≥ 99 %", beside(use), met(func(c contended) bool { return c.use >= .99 })},
	}
	return r, nil
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// contend loads a fresh site in one direction.
func (b *bench) contend(ctx context.Context, by regime, d sluice.Direction, span time.Duration) (c contended, err error) {
	t, err := newTenants(tenantsAll)
	if err != nil {
		return c, err
	}
	defer t.close()
	if err := by.begin(ctx, b, t, shared); err != nil {
		return c, err
	}
	loads, end, err := t.hostile(d, shared)
	defer end()
	if err != nil {
		return c, err
	}
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
	rates, err := windows(ctx, loads[one], 100*time.Millisecond, int(span/(100*time.Millisecond)))
	if err != nil {
		return c, err
	}
	after, err := total()
	if err != nil {
		return c, err
	}
	c.use = (after - before) * 8 / time.Since(begin).Seconds() / float64(shared)
	own := float64(guaranteed(shared))
	c.worst = slices.Min(rates) / own
	for _, r := range rates {
		c.mean += min(r/own, 1) / float64(len(rates))
	}
	return c, nil
}
