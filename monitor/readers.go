package monitor

import (
	"context"
	"sync"

	"sluice"
)

// readers are those who watch. Each channel holds one data set, the newest,
// so that telling them never waits.
type readers struct {
	mu    sync.Mutex // guards what follows, and that nobody sends on a closed channel
	all   map[chan sluice.DataSet]bool
	ended bool
}

func (r *readers) add(ctx context.Context) <-chan sluice.DataSet {
	c := make(chan sluice.DataSet, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		close(c)
		return c
	}
	if r.all == nil {
		r.all = map[chan sluice.DataSet]bool{}
	}
	r.all[c] = true
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.remove(c)
	})
	return c
}

func (r *readers) remove(c chan sluice.DataSet) {
	if r.all[c] {
		delete(r.all, c)
		close(c)
	}
}

func (r *readers) tell(d sluice.DataSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.all {
		select {
		case <-c: // the one it did not take
		default:
		}
		c <- d
	}
}

func (r *readers) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for c := range r.all {
		r.remove(c)
	}
}
