// Package broadcast hands values to whoever listens, and waits for none of
// them: who reads too slowly misses the oldest.
package broadcast

import (
	"context"
	"sync"
)

// Hub sends what it is given to all who watch. Its zero value is ready, and it
// is safe for concurrent use.
type Hub[T any] struct {
	mu    sync.Mutex // guards what follows, and that nobody sends on a closed channel
	all   map[chan T]struct{}
	ended bool
}

// Watch returns a channel that gets every value sent from now on, of which it
// holds so many that were not read yet, at least 1. It is closed when ctx or
// the Hub ends.
func (h *Hub[T]) Watch(ctx context.Context, holds int) <-chan T {
	ch := make(chan T, max(holds, 1))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		close(ch)
		return ch
	}
	if h.all == nil {
		h.all = make(map[chan T]struct{})
	}
	h.all[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.remove(ch)
	})
	return ch
}

// remove is called with the lock held.
func (h *Hub[T]) remove(ch chan T) {
	if _, there := h.all[ch]; there {
		delete(h.all, ch)
		close(ch)
	}
}

// Send gives a value to all who watch, and never waits.
func (h *Hub[T]) Send(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.all {
		select {
		case ch <- v:
			continue
		default:
		}
		// Full: drop the oldest. We are the only sender, so there is room then.
		select {
		case <-ch:
		default:
		}
		ch <- v
	}
}

// End closes all channels, those of later watchers too.
func (h *Hub[T]) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for ch := range h.all {
		h.remove(ch)
	}
}
