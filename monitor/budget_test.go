package monitor

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice"
)

// greedy is a collector that answers as much as it may, and always has more.
type greedy struct {
	cost  int
	pulls atomic.Int64
}

func (g *greedy) Pull(_ context.Context, after uint64, limit int) (sluice.Samples, error) {
	g.pulls.Add(1)
	got := sluice.Samples{Database: "d", More: true, Cost: g.cost}
	for i := range limit {
		got.Samples = append(got.Samples, sluice.Sample{ID: after + uint64(i) + 1, At: time.Now(), Span: time.Second})
	}
	return got, nil
}

// A guest that always has more costs what its budget allows, is told of, and
// is heard all the same.
func TestBudget(t *testing.T) {
	for name, g := range map[string]*greedy{"that says what it cost": {cost: 1 << 20}, "that does not": {}} {
		t.Run(name, func(t *testing.T) {
			cost := max(g.cost, sampleCost*pullLimit)
			p := newPulling(100*time.Millisecond, slog.New(slog.DiscardHandler))
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
			defer stop()
			one := &puller{guest: g, stop: stop}
			one.report.Store(&report{})
			p.run(ctx, "evil", one)
			most := int64((budgetMost+2*budgetRate)/cost) + 2
			if n := g.pulls.Load(); n > most {
				t.Errorf("it was asked %d times, and %d are its budget", n, most)
			}
			r := one.report.Load()
			if !strings.Contains(r.excess, "too much") || r.heard.IsZero() {
				t.Errorf("%+v", r)
			}
		})
	}
}

// It is told no longer when it answers as others do.
func TestBudgetRecovers(t *testing.T) {
	var b budget
	now := time.Now()
	for range 20 {
		b.spend(sluice.Samples{Cost: 1 << 20}, now)
	}
	if w := b.wait(now); w < 10*time.Second || w > 20*time.Second {
		t.Error("after 20 MB at once:", w)
	}
	now = now.Add(17 * time.Second)
	if b.spend(sluice.Samples{Cost: 1000}, now); b.wait(now) != 0 || !b.exceeded {
		t.Errorf("17 s later: %s, %+v", b.wait(now), b)
	}
	now = now.Add(10 * time.Second)
	if b.spend(sluice.Samples{Cost: 1000}, now); b.exceeded {
		t.Errorf("27 s later: %+v", b)
	}
}
