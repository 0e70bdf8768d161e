package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"sluice"
)

// costRate is what the machine forwards while its cost is taken: what its
// slowest candidate can.
const costRate = 200 * sluice.Mbit

// cost is the processors' time per Gbit with few classes and with many.
func cost(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "classes", "CPU seconds per Gbit, median", "of Sluice's single class"}},
		Chart:  Chart{Title: "What a Gbit costs, by the number of classes", Unit: "of what it costs with Sluice's single class", Bars: []float64{1.15}, Groups: []string{"tx"}},
		Note: fmt.Sprintf("UDP of %d bytes, %s in all, from as many VMs as there are classes, each with a limit that it does not reach; the sites exist side by side and take turns. "+
			"What is counted is all that the machine does meanwhile, less what it does idle: the sender, the bridge, the shaper and the receiver.", datagram, costRate),
	}
	rounds, span := 15, 2*time.Second
	if b.short {
		rounds, span = 2, time.Second
	}
	sluiced := func(t *tenants) error {
		if err := t.serve(ctx, b); err != nil {
			return err
		}
		for i := range t.vms {
			if _, err := t.client.Set(ctx, limit(tenant(i), sluice.Gbit)); err != nil {
				return err
			}
		}
		return nil
	}
	candidates := []struct {
		name    string
		classes int
		begin   func(*tenants) error
	}{
		{"Sluice", 1, sluiced},
		{"Sluice", 3, sluiced},
		{"Sluice", 200, sluiced},
		{byDefaultHTB.name, 1, func(t *tenants) error { return addHTB(ctx, t.site, uplink, sluice.Gbit) }},
		{byCNI.name, 1, func(t *tenants) error {
			return limitByCNI(ctx, t.host, t.vms[0], tenant(0), sluice.Gbit)
		}},
		{byNobody.name, 1, func(*tenants) error { return nil }},
	}
	sprays := make([]*spray, len(candidates))
	for i, c := range candidates {
		t, err := newTenants(c.classes)
		if err != nil {
			return r, err
		}
		defer t.close()
		if err := c.begin(t); err != nil {
			return r, fmt.Errorf("%s: %w", c.name, err)
		}
		if sprays[i], err = t.spray(sluice.Tx, nil); err != nil {
			return r, err
		}
		defer sprays[i].close()
	}
	costs, ratios := make([][]float64, len(candidates)), make([][]float64, len(candidates))
	for range rounds {
		idle, err := b.perGbit(ctx, span, nil)
		if err != nil {
			return r, err
		}
		for i := range candidates {
			if err := b.lull(ctx); err != nil {
				return r, err
			}
			var seconds float64
			err := b.undisturbed(func() (err error) { seconds, err = b.perGbit(ctx, span, sprays[i]); return err })
			if err != nil {
				return r, fmt.Errorf("%s: %w", candidates[i].name, err)
			}
			costs[i] = append(costs[i], max(seconds-idle, 0))
			ratios[i] = append(ratios[i], costs[i][len(costs[i])-1]/costs[0][len(costs[0])-1])
		}
	}
	for i, c := range candidates {
		of := median(ratios[i])
		r.Detail.Rows = append(r.Detail.Rows, []string{c.name, fmt.Sprint(c.classes), fmt.Sprintf("%.2f", median(costs[i])), fmt.Sprintf("%.3f", of)})
		b.say("  %v", r.Detail.Rows[i])
		if i > 0 {
			r.Chart.Series = append(r.Chart.Series, Series{fmt.Sprintf("%s, %d", c.name, c.classes), []float64{of}})
		}
	}
	of := func(i int) string { return fmt.Sprintf("%.2f ×", median(ratios[i])) }
	r.Rows = []Row{{
		Figure: "CPU per Gbit with 3 and with 200 classes, of that with one",
		Sluice: of(1) + ", " + of(2), Bar: "≤ 1.15 ×", Met: max(median(ratios[1]), median(ratios[2])) <= 1.15,
		Beside: fmt.Sprintf("one class by %s: %s; %s: %s; %s: %s", candidates[3].name, of(3), candidates[4].name, of(4), candidates[5].name, of(5)),
	}}
	return r, nil
}

// perGbit is the processors' time, in seconds: per Gbit that p carries, or
// without p all of it, by what p would have carried.
func (b *bench) perGbit(ctx context.Context, span time.Duration, p *spray) (float64, error) {
	if p != nil {
		for i := range p.rates {
			p.set(i, costRate/sluice.Rate(len(p.rates)))
		}
		defer func() {
			for i := range p.rates {
				p.set(i, 0)
			}
		}()
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
	}
	before, err := readTimes()
	if err != nil {
		return 0, err
	}
	carried := float64(costRate) * span.Seconds()
	if p == nil {
		err = wait(ctx, span)
	} else {
		var came []float64
		if came, _, err = p.look(ctx, span); err == nil {
			carried = 0
			for _, r := range came {
				carried += r * span.Seconds()
			}
			if carried < .9*float64(costRate)*span.Seconds() {
				return 0, fmt.Errorf("only %.0f Mbit/s of %s arrived", carried/span.Seconds()/1e6, costRate)
			}
		}
	}
	if err != nil {
		return 0, err
	}
	after, err := readTimes()
	if err != nil {
		return 0, err
	}
	did := after.since(before)
	return (1 - did.idle - did.stolen) * float64(runtime.NumCPU()) * span.Seconds() / (carried / 1e9), nil
}
