package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice"
)

// accuracy is what one TCP flow delivers against what is set.
func accuracy(ctx context.Context, b *bench) (Result, error) {
	rates := []sluice.Rate{1e6, 10e6, 100e6, 1e9, 5e9}
	shapers := []shaper{bySluice, byDefaultHTB, byCNI}
	r := Result{
		Note: "Payload at the receiver, from the first arrival to the last after the warm-up, in percent of rate x 1448/1514; the median of the rounds, " +
			"which the candidates take in turn.",
		Detail: Table{Head: []string{"set"}},
		Chart: Chart{Title: "Delivered against set, one TCP flow", Unit: "% from the ideal", Bars: []float64{-1, 1},
			Groups: make([]string, 0, 2*len(rates)), Series: make([]Series, len(shapers))},
	}
	worst := make([]cell, len(shapers))
	for i, by := range shapers {
		r.Detail.Head = append(r.Detail.Head, by.name)
		r.Chart.Series[i].Name = by.name
	}
	// Slow flows run side by side, for they cost nothing; fast ones take turns.
	// At 1 Mbit/s a frame of 64 KB takes half a second, and TCP that mends a loss
	// delivers two at once: with 12 s they were 4 % of what one looked at.
	slow, err := b.delivered(ctx, shapers, rates[:3], plan{rounds: 3, warm: 2 * time.Second, window: 40 * time.Second, atOnce: -1})
	if err != nil {
		return r, err
	}
	fast, err := b.delivered(ctx, shapers, rates[3:], plan{rounds: 3, warm: 700 * time.Millisecond, window: 1300 * time.Millisecond, atOnce: 1})
	if err != nil {
		return r, err
	}
	for k, cells := range append(slow, fast...) {
		rate := rates[k]
		for d, direction := range sluice.Directions {
			group := fmt.Sprintf("%s %s", rate, direction)
			r.Chart.Groups = append(r.Chart.Groups, group)
			line := []string{group}
			for i, c := range cells[d] {
				off := (c/(float64(rate)*payload) - 1) * 100
				r.Chart.Series[i].Values = append(r.Chart.Series[i].Values, off)
				line = append(line, fmt.Sprintf("%.2f %%", 100+off))
				if math.Abs(off) >= math.Abs(worst[i].off) {
					worst[i] = cell{group, off}
				}
			}
			b.say("  %v", line)
			r.Detail.Rows = append(r.Detail.Rows, line)
		}
	}
	r.Rows = []Row{{
		Figure: "delivered against set, TCP payload, 1 Mbit/s to 5 Gbit/s, tx and rx: the worst",
		Sluice: worst[0].String(), Bar: "within 1 %", Met: math.Abs(worst[0].off) <= 1,
		Beside: fmt.Sprintf("%s: %s; %s: %s", shapers[1].name, worst[1], shapers[2].name, worst[2]),
	}}
	return r, nil
}

// cell is a deviation in percent, and of what.
type cell struct {
	group string
	off   float64
}

func (c cell) String() string { return fmt.Sprintf("%+.2f %% (%s)", c.off, c.group) }

// plan is how long one looks.
type plan struct {
	rounds       int
	warm, window time.Duration
	atOnce       int // flows; -1 is all
}

// delivered is the median payload rate in bit/s by rate, direction and shaper.
func (b *bench) delivered(ctx context.Context, shapers []shaper, rates []sluice.Rate, p plan) ([][2][]float64, error) {
	if b.short {
		p.rounds, p.window = 1, p.window/3
	}
	type flow struct {
		*site
		rate, by int
		got      [2][]float64
	}
	var flows []*flow
	defer func() {
		for _, f := range flows {
			f.close()
		}
	}()
	for k, rate := range rates {
		for i, by := range shapers {
			s, err := b.shaped(ctx, by, rate)
			if err != nil {
				return nil, err
			}
			flows = append(flows, &flow{site: s, rate: k, by: i})
		}
	}
	for range p.rounds {
		for d, direction := range sluice.Directions { // one after the other: acknowledgements count, too
			got := make([]float64, len(flows))
			err := b.undisturbed(func() error {
				group, ctx := errgroup.WithContext(ctx)
				group.SetLimit(p.atOnce)
				for i, f := range flows {
					group.Go(func() (err error) {
						got[i], err = f.delivers(ctx, direction, p.warm, p.window)
						return err
					})
				}
				return group.Wait()
			})
			if err != nil {
				return nil, err
			}
			for i, f := range flows {
				f.got[d] = append(f.got[d], got[i])
			}
		}
	}
	medians := make([][2][]float64, len(rates))
	for _, f := range flows {
		for d := range sluice.Directions {
			medians[f.rate][d] = append(medians[f.rate][d], median(f.got[d]))
		}
	}
	return medians, nil
}

// delivers is one new flow's payload rate after a warm-up, in bit/s.
func (s *site) delivers(ctx context.Context, d sluice.Direction, warm, window time.Duration) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f, err := s.stream(d, 0)
	if err != nil {
		return 0, err
	}
	defer f.close()
	if _, err := f.rate(warm); err != nil {
		return 0, err
	}
	return f.rate(window)
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile is the nearest value.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Round(q*float64(len(sorted)-1)))]
}
