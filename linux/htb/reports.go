package htb

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"sluice"
)

const (
	// tellMost is how often one key is told of in tellWithin. A program that
	// fights us would fill the journal.
	tellMost   = 10
	tellWithin = time.Minute
	// tellLater is how many reports may wait for a slow receiver.
	tellLater = 1024
)

// reports hand over what was found, one after the other, beside the repairs:
// those do not wait for a journal. What is told of a key too often is held
// back, and its last told with the number of the others.
type reports struct {
	report func(sluice.Repair)
	log    *slog.Logger
	most   int
	queue  chan sluice.Repair
	of     map[string]*recent
}

// recent is what was told of one key lately.
type recent struct {
	since time.Time
	told  int
	held  int // beyond that
	last  sluice.Repair
}

func newReports(report func(sluice.Repair), most int, log *slog.Logger) *reports {
	return &reports{report: report, log: log, most: most, queue: make(chan sluice.Repair, tellLater), of: map[string]*recent{}}
}

// tell does not wait.
func (r *reports) tell(one sluice.Repair) {
	select {
	case r.queue <- one:
	default:
		r.log.Warn("nobody takes the reports of what was found in the kernel; this one is only here", "vif", one.Key, "what", one.Text)
	}
}

// run hands the reports over until ctx ends.
func (r *reports) run(ctx context.Context) {
	flush := time.NewTicker(time.Second)
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-r.queue:
			r.take(one, time.Now())
		case <-flush.C:
			r.flush(time.Now())
		}
	}
}

func (r *reports) take(one sluice.Repair, now time.Time) {
	of := r.of[one.Key]
	if of == nil {
		of = &recent{since: now}
		r.of[one.Key] = of
	}
	if of.told >= r.most {
		of.held, of.last = of.held+1, one
		return
	}
	of.told++
	r.report(one)
}

// flush tells what was held back for long enough.
func (r *reports) flush(now time.Time) {
	for key, of := range r.of {
		if now.Sub(of.since) < tellWithin {
			continue
		}
		if of.held == 0 {
			delete(r.of, key)
			continue
		}
		if of.held > 1 {
			of.last.Text += fmt.Sprintf(" (the last of %d times in %s)", of.held, now.Sub(of.since).Round(time.Second))
		}
		r.report(of.last)
		*of = recent{since: now, told: 1}
	}
}
