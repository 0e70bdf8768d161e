package main

import (
	"context"
	"fmt"

	"sluice"
)

// throughput is what shaping costs one flow that it does not limit.
func throughput(ctx context.Context, b *bench) (Result, error) {
	shapers := []shaper{byNobody, bySluice, byCNI, inTheTree}
	limits := []sluice.Rate{sluice.Unlimited, sluice.Unlimited, 100e9, sluice.Unlimited} // the plugin knows no shaping without a limit
	r := Result{
		Detail: Table{Head: []string{"direction", "", "Gbit/s, median", "of no shaping", "reordered", "DSACK"}},
		Chart:  Chart{Title: "One TCP flow, shaped without a limit", Unit: "of the rate without shaping", Bars: []float64{0.95}, Groups: []string{"tx", "rx"}},
		Note: "One flow of iperf3 at a time, a second in every round, on sites that exist side by side; a ratio is the median of the rounds' ratios to the neighbour in time. " +
			"Both ends and the bridge share the machine, so what is measured is the processor's time per byte. " +
			"A vif that nothing limits, on a link that nobody shares, passes no class; where somebody has a guarantee it does. " +
			"Reordered is how often TCP saw its segments out of order (TCPTSReorder and TCPSACKReorder of both ends), DSACK what it sent for nothing (TCPDSACKRecv), over all rounds.",
	}
	rounds := 21
	if b.short {
		rounds = 2
	}
	sites := make([]*site, len(shapers))
	for i, by := range shapers {
		s, err := b.shaped(ctx, by, limits[i])
		if err != nil {
			return r, err
		}
		defer s.close()
		sites[i] = s
	}
	ratios := make([][2]float64, len(shapers))
	for d, direction := range sluice.Directions {
		rates, ratio := make([][]float64, len(shapers)), make([][]float64, len(shapers))
		before := make([]disorder, len(sites))
		for i, s := range sites {
			var err error
			if before[i], err = s.disorder(); err != nil {
				return r, err
			}
		}
		for range rounds {
			for i, s := range sites {
				if err := b.lull(ctx); err != nil {
					return r, err
				}
				var got float64
				err := b.undisturbed(func() (err error) {
					got, err = s.iperf3(ctx, direction)
					return err
				})
				if err != nil {
					return r, err
				}
				rates[i] = append(rates[i], got)
				ratio[i] = append(ratio[i], got/rates[0][len(rates[0])-1])
			}
		}
		for i, by := range shapers {
			ratios[i][d] = median(ratio[i])
			after, err := sites[i].disorder()
			if err != nil {
				return r, err
			}
			line := []string{string(direction), by.name, fmt.Sprintf("%.2f", median(rates[i])/1e9), fmt.Sprintf("%.3f", ratios[i][d]),
				fmt.Sprint(after.reordered - before[i].reordered), fmt.Sprint(after.dsack - before[i].dsack)}
			b.say("  %v", line)
			r.Detail.Rows = append(r.Detail.Rows, line)
		}
	}
	for i, by := range shapers[1:] {
		r.Chart.Series = append(r.Chart.Series, Series{by.name, ratios[i+1][:]})
	}
	both := func(i int) string { return fmt.Sprintf("%.3f tx, %.3f rx", ratios[i][0], ratios[i][1]) }
	r.Rows = []Row{{
		Figure: "throughput with shaping on and no limit, one TCP flow, of that without",
		Sluice: both(1) + "; where the link is shared: " + both(3), Bar: "≥ 0.95",
		Met:    min(ratios[1][0], ratios[1][1], ratios[3][0], ratios[3][1]) >= 0.95,
		Beside: fmt.Sprintf("%s at %s: %s; without any: %s and %s Gbit/s", byCNI.name, limits[2], both(2), r.Detail.Rows[0][2], r.Detail.Rows[3][2]),
	}}
	return r, nil
}
