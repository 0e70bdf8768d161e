package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"sluice"
	"sluice/linux/htb"
)

// state is how long a driver takes for a whole state at once, as when a daemon
// starts on a host whose kernel has nothing, and for looking at all of it again.
func state(ctx context.Context, b *bench) (Result, error) {
	vifs, rounds := 1000, 5
	if b.short {
		vifs, rounds = 100, 1
	}
	r := Result{
		Detail: Table{Head: []string{"", "vifs", "median, ms", "worst, ms"}},
		Chart:  Chart{Title: "A whole state, set at once", Unit: "ms", Bars: []float64{1000}, Groups: []string{"from nothing", "nothing to do"}},
		Note: "Every vif is a veth with a limit of its own in both directions: two classes with a queue each, a clsact and two filters, written and read back. " +
			"Nothing to do is the same state again, when everything is compared with the kernel.",
	}
	s, err := newSite()
	if err != nil {
		return r, err
	}
	defer s.close()
	if err := s.crowd(b, vifs); err != nil {
		return r, err
	}
	want := sluice.Effective{Capacity: sluice.Capacity{Tx: 100 * sluice.Gbit, Rx: 100 * sluice.Gbit}, VIFs: map[string]sluice.Bound{}}
	for i := range vifs {
		v := sluice.VIF{VM: fmt.Sprint("tap", i), Device: fmt.Sprint("tap", i)}
		if i >= vifs-2 {
			v.Device = []string{vif, uplink}[vifs-1-i]
		}
		a := sluice.Allocation{Limit: sluice.Rate(10e6 + i*1e5), Weight: sluice.DefaultWeight}
		want.VIFs[v.Key()] = sluice.Bound{VIF: v, Want: sluice.Allocations{Tx: a, Rx: a}}
	}
	var times [2][]float64
	for range rounds {
		if err := b.lull(ctx); err != nil {
			return r, err
		}
		var d *htb.Driver
		err := s.host.do(func() (err error) { d, err = htb.New(slog.New(slog.DiscardHandler), htb.Ethernet); return err })
		if err != nil {
			return r, err
		}
		for i := range times {
			begin := time.Now()
			failed, err := d.Set(ctx, want)
			if err != nil || len(failed) > 0 {
				d.Close()
				return r, fmt.Errorf("setting %d vifs: %w %v", vifs, err, failed)
			}
			times[i] = append(times[i], time.Since(begin).Seconds()*1000)
		}
		d.Close()
		if err := s.host.do(func() error { return htb.CleanUp(ctx) }); err != nil {
			return r, err
		}
	}
	for i, what := range r.Chart.Groups {
		line := []string{what, fmt.Sprint(vifs), fmt.Sprintf("%.0f", median(times[i])), fmt.Sprintf("%.0f", quantile(times[i], 1))}
		b.say("  %v", line)
		r.Detail.Rows = append(r.Detail.Rows, line)
	}
	r.Chart.Series = []Series{{"Sluice", []float64{median(times[0]), median(times[1])}}}
	r.Rows = []Row{{
		Figure: fmt.Sprintf("a state of %d vifs set at once, written and read back", vifs),
		Sluice: fmt.Sprintf("%.0f ms (worst of %d: %.0f ms)", median(times[0]), rounds, quantile(times[0], 1)), Bar: "≤ 1 s",
		Met: median(times[0]) <= 1000, Beside: fmt.Sprintf("the same state again, all of it compared: %.0f ms", median(times[1])),
	}}
	return r, nil
}
