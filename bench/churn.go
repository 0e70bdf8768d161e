package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"sluice"
	"sluice/allocate"
	"sluice/control"
	"sluice/http"
)

// churnLink is what the many share.
const churnLink = 500 * sluice.Mbit

// churn is whether many VMs' shares are right while their guarantees change.
func churn(ctx context.Context, b *bench) (Result, error) {
	vifs, rounds, each := 200, 12, 10
	if b.short {
		vifs, rounds = 40, 2
	}
	const settle, seconds = time.Second, 4
	r := Result{
		Detail: Table{Head: []string{"direction", "steady seconds", "all vifs together, worst second", "vifs' seconds within 3 %", "within 5 %", "worst of a vif's", "mean"}},
		Chart:  Chart{Title: fmt.Sprintf("%d vifs with guarantees that change: how far from the oracle a second is", vifs), Unit: "parts of all vifs' steady seconds", Groups: []string{"≤ 1 %", "1–2 %", "2–3 %", "3–5 %", "5–10 %", "> 10 %"}},
		Note: fmt.Sprintf("%d VMs, each guaranteed from a half to all of its part of three quarters of %s, and each sending 1.4 times its part in UDP. Every %d s %d random ones get other guarantees and weights as one batch; "+
			"the second after that is not counted. The oracle, package allocate, gets what each really sent. A second is as far off as the sum of all vifs' differences, by the sum of their shares.",
			vifs, churnLink, int(settle/time.Second)+seconds, each),
	}
	bounds := []float64{.01, .02, .03, .05, .10, math.Inf(1)}
	var words []string
	met := true
	for _, d := range sluice.Directions {
		var offs, whole []float64
		err := b.undisturbed(func() (err error) {
			offs, whole, err = b.churned(ctx, d, vifs, rounds, each, settle, seconds)
			return err
		})
		if err != nil {
			return r, fmt.Errorf("%s: %w", d, err)
		}
		series := Series{Name: string(d), Values: make([]float64, len(bounds))}
		three, five, worst, mean, second := 0.0, 0.0, 0.0, 0.0, 0.0
		for _, off := range offs {
			for i, most := range bounds {
				if off <= most {
					series.Values[i] += 1 / float64(len(offs))
					break
				}
			}
			worst, mean = max(worst, off), mean+off/float64(len(offs))
			if off <= .03 {
				three += 1 / float64(len(offs))
			}
			if off <= .05 {
				five += 1 / float64(len(offs))
			}
		}
		for _, off := range whole {
			second = max(second, off)
		}
		line := []string{string(d), fmt.Sprint(len(whole)), percent(second), percent(three), percent(five), percent(worst), percent(mean)}
		b.say("  %v", line)
		r.Detail.Rows = append(r.Detail.Rows, line)
		r.Chart.Series = append(r.Chart.Series, series)
		words = append(words, fmt.Sprintf("%s %s (a vif's own second: mean %s, worst %s)", percent(second), d, percent(mean), percent(worst)))
		met = met && second <= .03
	}
	r.Rows = []Row{{
		Figure: fmt.Sprintf("%d vifs with guarantees, random changes for a minute: a steady second's difference from the oracle, the worst second", vifs),
		Sluice: words[0] + "; " + words[1], Bar: "≤ 3 %", Met: met, Beside: "–",
	}}
	return r, nil
}

// churned returns how far every vif's every steady second was off, and how far each second was on the whole.
func (b *bench) churned(ctx context.Context, d sluice.Direction, vifs, rounds, each int, settle time.Duration, seconds int) (offs, whole []float64, err error) {
	t, err := newTenants(vifs)
	if err != nil {
		return nil, nil, err
	}
	defer t.close()
	if err := t.serve(ctx, b); err != nil {
		return nil, nil, err
	}
	if _, err := t.client.SetCapacity(ctx, sluice.Capacity{Tx: churnLink, Rx: churnLink}); err != nil {
		return nil, nil, err
	}
	dice := rand.New(rand.NewPCG(1, 1))
	claims := make([]allocate.Claim, vifs)
	fair := float64(churnLink) * .75 / float64(vifs) // the host keeps a quarter back
	change := func(some []int) error {
		var all []http.ChangeRequest
		for _, i := range some {
			// From half of what would be fair to all of it: whatever is drawn, there is room for it.
			guarantee, weight := sluice.Rate(fair*(.5+.5*dice.Float64())), 100<<dice.IntN(3)
			claims[i] = allocate.Claim{Guarantee: guarantee, Limit: sluice.Unlimited, Weight: weight, Group: allocate.Host}
			p := control.Patch{Guarantee: &guarantee, Weight: &weight}
			all = append(all, http.ChangeRequest{VM: tenant(i), Tx: &p, Rx: &p})
		}
		_, err := t.client.SetAll(ctx, all)
		return err
	}
	if err := change(dice.Perm(vifs)); err != nil {
		return nil, nil, err
	}
	p, err := t.spray(d, nil)
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	for i := range claims {
		p.set(i, churnLink*7/5/sluice.Rate(vifs))
	}
	if err := wait(ctx, 3*time.Second); err != nil {
		return nil, nil, err
	}
	for range rounds {
		if err := change(dice.Perm(vifs)[:each]); err != nil {
			return nil, nil, err
		}
		if err := wait(ctx, settle); err != nil {
			return nil, nil, err
		}
		for range seconds {
			got, sent, err := p.look(ctx, time.Second)
			if err != nil {
				return nil, nil, err
			}
			for i := range claims {
				claims[i].Demand = sluice.Rate(sent[i])
			}
			want, err := allocate.Share(churnLink, claims, nil)
			if err != nil {
				return nil, nil, err
			}
			sum, differ := 0.0, 0.0
			for i, w := range want {
				off := math.Abs(got[i] - float64(w))
				sum, differ = sum+float64(w), differ+off
				offs = append(offs, off/float64(w))
			}
			whole = append(whole, differ/sum)
		}
	}
	return offs, whole, nil
}
