package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"sluice"
	"sluice/allocate"
	"sluice/control"
)

// weights is how what is spare is shared.
func weights(ctx context.Context, b *bench) (Result, error) {
	r := Result{
		Detail: Table{Head: []string{"", "direction", "weight", "Mbit/s", "the oracle's", "off"}},
		Chart:  Chart{Title: "Spare rate by weight 1 : 2 : 4, each with a guarantee", Unit: "Mbit/s of wire, tx", Groups: []string{"weight 100", "weight 200", "weight 400"}},
		Note:   fmt.Sprintf("Three VMs of eight TCP flows each on a link of %s, each guaranteed 20mbit; the oracle is package allocate. HTB as iproute2 sets it knows no weight but rate / r2q.", shared),
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
			if err := t.share(ctx, b, shared); err != nil {
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
		if loads[i], err = t.tcp(i, d, 8, nil); err != nil {
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
