package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sluice"
)

// quietLink is a link that can be flooded on a machine of two processors, on
// which both ends of all flows run too, without the processors being what a
// request waits for.
const quietLink = 50 * sluice.Mbit

// elsewhere is not a way to share, but what the processors alone do to a
// request: it goes over a bridge of its own while another one is under load.
var elsewhere = regime{"the load on another bridge", byFIFO.begin}

// neighbour is what hostile load does to one who asks little and waits.
func neighbour(ctx context.Context, b *bench) (Result, error) {
	quantiles := []float64{.5, .99, .999}
	r := Result{
		Detail: Table{Head: []string{"", "direction", "idle host, p50 ms", "p99", "p99.9", "under load, p50 ms", "p99", "p99.9", "p99.9 of idle"}},
		Chart:  Chart{Title: "A neighbour's request and answer under hostile load: p99.9", Unit: "of the same on an idle host", Log: true, Bars: []float64{1.25}, Groups: []string{"tx", "rx"}},
		Note: fmt.Sprintf("The load of the contention figure on a link of %s, and beside it one VM that is sent %d bytes every %s and answers with as many; with Sluice it is guaranteed %s and has priority. "+
			"Who asks and who answers have the machine's last processor, and the load the others, for they stand for machines that have their own. The load on another bridge is what the processors do to a request that shares no queue with it.",
			quietLink, request, interval, asked(quietLink)),
	}
	over, err := aside()
	if err != nil {
		return r, err
	}
	defer func() { _ = over() }()
	rounds, span := 9, 8*time.Second
	if b.short {
		rounds, span = 1, 3*time.Second
	}
	type pair struct{ calm, busy [][]float64 }
	got := make(map[string]pair)
	ratio := func(p pair) float64 { return typical(p.busy, .999) / typical(p.calm, .999) }
	regimes := []regime{bySharing, byTurns, byFIFO, elsewhere}
	for _, by := range regimes {
		series := Series{Name: by.name}
		for _, d := range sluice.Directions {
			rounds := rounds
			switch by.name {
			case byTurns.name, byFIFO.name:
				rounds = 1 // theirs is nothing that noise could hide
			case elsewhere.name:
				rounds = (rounds + 1) / 2
			}
			var p pair
			err := b.undisturbed(func() (err error) { p.calm, p.busy, err = b.ask(ctx, by, d, rounds, span); return err })
			if err != nil {
				return r, fmt.Errorf("%s, %s: %w", by.name, d, err)
			}
			line := []string{by.name, string(d)}
			for _, all := range [][][]float64{p.calm, p.busy} {
				for _, q := range quantiles {
					line = append(line, fmt.Sprintf("%.2f", typical(all, q)))
				}
			}
			line = append(line, fmt.Sprintf("%.2f", ratio(p)))
			b.say("  %v", line)
			r.Detail.Rows = append(r.Detail.Rows, line)
			series.Values = append(series.Values, ratio(p))
			got[by.name+string(d)] = p
		}
		r.Chart.Series = append(r.Chart.Series, series)
	}
	slower := func(by regime) string {
		var words []string
		for _, d := range sluice.Directions {
			p := got[by.name+string(d)]
			words = append(words, fmt.Sprintf("%.2f × (%.2f ms) %s", ratio(p), typical(p.busy, .999), d))
		}
		return strings.Join(words, ", ")
	}
	var beside []string
	for _, by := range regimes[1:] {
		beside = append(beside, by.name+": "+slower(by))
	}
	r.Rows = []Row{{
		Figure: "a neighbour's request and answer under that flood, with priority: p99.9 against an idle host",
		Sluice: slower(bySharing), Bar: "≤ 1.25 ×", Beside: strings.Join(beside, "; "),
		Met: max(ratio(got[bySharing.name+"tx"]), ratio(got[bySharing.name+"rx"])) <= 1.25,
	}}
	return r, nil
}

// typical is the rounds' median quantile: in one or another of them a
// hypervisor has other things to do.
func typical(rounds [][]float64, q float64) float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, quantile(r, q))
	}
	return median(all)
}

// ask asks on an idle host and under load in one direction, in turn, for what
// the machine is like changes by the minute.
func (b *bench) ask(ctx context.Context, by regime, d sluice.Direction, rounds int, span time.Duration) (calm, busy [][]float64, err error) {
	t, err := newTenants(tenantsAll)
	if err != nil {
		return nil, nil, err
	}
	defer t.close()
	if err := by.begin(ctx, b, t, quietLink); err != nil {
		return nil, nil, err
	}
	asking := t
	if by.name == elsewhere.name {
		if asking, err = newTenants(tenantsAll); err != nil {
			return nil, nil, err
		}
		defer asking.close()
	}
	for range rounds {
		some, err := asking.asks(ctx, askingOne, span)
		if err != nil {
			return nil, nil, err
		}
		calm = append(calm, some)
		if some, err = b.askUnder(ctx, t, asking, d, span); err != nil {
			return nil, nil, err
		}
		busy = append(busy, some)
	}
	return calm, busy, nil
}

// askUnder asks while t is under load, which has gone when it returns.
func (b *bench) askUnder(ctx context.Context, t, asking *tenants, d sluice.Direction, span time.Duration) ([]float64, error) {
	_, end, err := t.hostile(d, quietLink)
	defer func() {
		end()
		_ = wait(ctx, time.Second) // for what is still in the queues
	}()
	if err == nil {
		err = wait(ctx, 3*time.Second)
	}
	if err != nil {
		return nil, err
	}
	return asking.asks(ctx, askingOne, span)
}
