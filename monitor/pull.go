package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sluice"
)

const (
	pullTime   = 2 * time.Second        // for one answer
	quick      = 250 * time.Millisecond // what a guest in good standing answers within
	good       = 5                      // quick answers in a row that make good standing
	longest    = time.Minute            // between two tries
	pullLimit  = 512                    // samples of one answer
	pullsAtOne = 256                    // answers in a row while catching up: a day and more
)

// pulling is the guests' budget. Those in good standing and the rest wait in
// two lines, so that the slow and dead never take a place from the good; each
// line's places bound how many answers are in memory at once.
type pulling struct {
	interval    time.Duration
	log         *slog.Logger
	good, other chan struct{}
	all         map[string]*puller // only Run's goroutine
}

func newPulling(interval time.Duration, log *slog.Logger) pulling {
	return pulling{interval, log, make(chan struct{}, 32), make(chan struct{}, 64), map[string]*puller{}}
}

// puller asks one guest; its goroutine alone touches all but report.
type puller struct {
	guest  Guest
	stop   context.CancelFunc
	report atomic.Pointer[report]

	database string
	after    uint64
	caughtUp bool
	asked    time.Time // when the last good pull began
	last     sluice.Sample
	gather   window
	streak   int // quick answers in a row
	failures int
	budget   budget
}

// of returns who pulls the vif's VM, or nil.
func (p *pulling) of(v sluice.VIF) *puller {
	if v.UUID != "" {
		if one := p.all[v.UUID]; one != nil {
			return one
		}
	}
	return p.all[v.VM]
}

// sync starts and stops pullers until there is one for each guest.
func (p *pulling) sync(ctx context.Context, wg *sync.WaitGroup, guests map[string]Guest) {
	for name, one := range p.all {
		if guests[name] != one.guest {
			one.stop()
			delete(p.all, name)
		}
	}
	for name, g := range guests {
		if g == nil || p.all[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		one := &puller{guest: g, stop: stop}
		one.report.Store(&report{})
		p.all[name] = one
		wg.Go(func() { p.run(ctx, name, one) })
	}
}

// run asks until ctx ends: once per interval, and ever more rarely while it fails.
func (p *pulling) run(ctx context.Context, name string, one *puller) {
	// Spread over the interval, so that not all answer at once.
	wait := time.Duration(rand.Int64N(int64(min(p.interval, time.Second))))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		line := p.other
		if one.streak >= good {
			line = p.good
		}
		select {
		case <-ctx.Done():
			return
		case line <- struct{}{}:
		}
		began := time.Now()
		err := one.pull(ctx)
		<-line
		if ctx.Err() != nil {
			return
		}
		one.judge()
		took := time.Since(began)
		wait = max(p.interval-took, p.interval/10, one.budget.wait(time.Now()))
		if one.streak++; err != nil || took > quick {
			one.streak = 0
		}
		if err == nil {
			if one.failures > 0 {
				p.log.Info("a collector is heard again", "vm", name)
			}
			one.failures = 0
			continue
		}
		if one.failures++; one.failures == 1 {
			p.log.Warn("a collector is not heard", "vm", name, "error", words(err.Error()))
		}
		r := *one.report.Load()
		r.failure = words(err.Error())
		one.report.Store(&r)
		wait = min(longest, p.interval<<min(one.failures, 10))
		wait -= time.Duration(rand.Int64N(int64(wait)/4 + 1))
		wait = max(wait, one.budget.wait(time.Now()))
	}
}

// pull asks until it has all there is, within one deadline and the guest's budget.
func (one *puller) pull(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pullTime)
	defer cancel()
	for range pullsAtOne {
		began := time.Now()
		got, err := one.guest.Pull(ctx, one.after, pullLimit)
		one.budget.spend(got, time.Now())
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no whole answer within %s", pullTime)
		}
		if err != nil {
			return err
		}
		if err := one.take(got, began, time.Now()); err != nil {
			one.gather, one.last = window{}, sluice.Sample{}
			return err
		}
		if !got.More || len(got.Samples) == 0 {
			one.caughtUp = true
			return nil
		}
		if one.budget.wait(time.Now()) > 0 {
			return nil // the rest the next time
		}
	}
	return nil
}

// judge keeps in words what is wrong with a guest that is heard.
func (one *puller) judge() {
	excess := ""
	if one.budget.exceeded {
		excess = tooMuch
	}
	if r := *one.report.Load(); r.excess != excess {
		r.excess = excess
		one.report.Store(&r)
	}
}

// take reads one answer.
func (one *puller) take(got sluice.Samples, began, now time.Time) error {
	if len(got.Database) > 128 {
		return errors.New("its database's name is too long")
	}
	if got.Database != one.database {
		stale := one.database != ""
		one.database, one.after, one.caughtUp = got.Database, 0, false
		one.gather, one.last = window{}, sluice.Sample{}
		if stale {
			return nil // asked with the old database's number; its samples come next time
		}
	}
	if len(got.Samples) > pullLimit {
		return fmt.Errorf("it answered with %d samples where %d were asked for", len(got.Samples), pullLimit)
	}
	r := *one.report.Load()
	r.failure = ""
	for _, s := range got.Samples {
		if s.ID <= one.after {
			return fmt.Errorf("sample %d came after sample %d", s.ID, one.after)
		}
		one.after = s.ID // a bad sample is not asked for again
		nics, err := nicsOf(s)
		if err != nil {
			return err
		}
		if one.caughtUp {
			one.join(s, nics, now)
			if one.gather.span >= stretch {
				w := one.gather
				r.window, one.gather = &w, window{}
			}
		}
		s.NICs = nil
		one.last = s
		r.at, r.span, r.nics, r.heard = s.At.UTC(), s.Span, nics, now
	}
	one.asked = began
	one.report.Store(&r)
	return nil
}

// join adds a sample to the window that is gathering, which begins anew when
// the guest's samples do not follow each other without a gap.
func (one *puller) join(s sluice.Sample, nics []nic, now time.Time) {
	gap := s.At.Sub(one.last.At) - s.Span
	if one.last.ID+1 != s.ID || gap.Abs() > s.Span/4 || len(nics) != len(one.gather.nics) {
		one.gather = window{}
	}
	g := &one.gather
	if g.nics == nil {
		g.nics = make([]nic, len(nics))
	}
	for i, n := range nics {
		if g.span > 0 && g.nics[i].mac != n.mac {
			one.gather = window{}
			return
		}
		g.nics[i].mac = n.mac
		g.nics[i].tx += n.tx
		g.nics[i].rx += n.rx
	}
	g.span += s.Span
	// It was not there yet when the last pull began, and is there now.
	g.earliest, g.latest = one.asked.Add(-lateWrite), now
}
