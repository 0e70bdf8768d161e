package xen

import (
	"context"
	"sync"
)

// turns are locks by name that a context can give up waiting for.
type turns struct {
	mu   sync.Mutex
	busy map[string]*turn
}

type turn struct {
	held  chan struct{}
	users int // who have it or wait for it
}

// take waits for the name's turn and returns what gives it on.
func (t *turns) take(ctx context.Context, name string) (free func(), err error) {
	t.mu.Lock()
	if t.busy == nil {
		t.busy = make(map[string]*turn)
	}
	one := t.busy[name]
	if one == nil {
		one = &turn{held: make(chan struct{}, 1)}
		t.busy[name] = one
	}
	one.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.busy, name)
		}
	}
	select {
	case one.held <- struct{}{}:
		return func() { <-one.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, unanswered(ctx.Err())
	}
}

// idle reports whether nobody has the name's turn or waits for it.
func (t *turns) idle(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.busy[name] == nil
}
