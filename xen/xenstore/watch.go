package xenstore

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// backlog is how many changed paths a watch keeps for a slow reader. Beyond,
// it keeps only the watched path itself, which says: look at everything.
const backlog = 4096

// watch is one watch: where events are kept until they are read.
type watch struct {
	path string
	wake chan struct{} // holds one token while something is pending

	mu      sync.Mutex
	pending []string
	known   map[string]bool // what is in pending
}

func (w *watch) add(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.known[path]:
		return
	case len(w.pending) >= backlog:
		w.pending, w.known = nil, make(map[string]bool)
		path = w.path
	}
	w.pending = append(w.pending, path)
	w.known[path] = true
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := w.pending
	w.pending, w.known = nil, make(map[string]bool)
	return paths
}

// Watch sends the path of every node at or below path that was written, made
// or removed, by whomever, until ctx ends or the Client is closed; then it
// closes the channel. The special paths @introduceDomain and @releaseDomain
// tell of domains that come and go.
//
// The first event, the path itself, comes at once; it comes again after an
// interruption, for what was missed. An event says only where to look: of a
// path that changes twice before it is read, one event is sent. Removing a
// node fires for that node, not for those below it.
func (c *Client) Watch(ctx context.Context, path string) (<-chan string, error) {
	if err := checkWatch(path); err != nil {
		return nil, &PathError{Op: "watch", Path: path, Err: err}
	}
	w := &watch{path: path, wake: make(chan struct{}, 1), known: make(map[string]bool)}
	c.mu.Lock()
	c.token++
	token := strconv.FormatUint(c.token, 10)
	c.watches[token] = w
	c.mu.Unlock()
	if err := c.register(ctx, w, token); err != nil {
		c.forget(token)
		return nil, &PathError{Op: "watch", Path: path, Err: err}
	}
	out := make(chan string)
	c.done.Go(func() {
		defer close(out)
		defer c.unwatch(w, token)
		for {
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			case <-c.over.Done():
				return
			}
			for _, changed := range w.take() {
				select {
				case out <- changed:
				case <-ctx.Done():
					return
				case <-c.over.Done():
					return
				}
			}
		}
	})
	return out, nil
}

// register sets the watch. A connection that broke meanwhile is no error: the
// next one is given only when it has the watch.
func (c *Client) register(ctx context.Context, w *watch, token string) error {
	for {
		now, err := c.current(ctx)
		if err != nil {
			return err
		}
		_, err = now.request(ctx, opWatch, 0, arguments(w.path, token))
		if err == ErrLost {
			continue
		}
		if err == ErrExists { // set when the connection was renewed
			return nil
		}
		return err
	}
}

func (c *Client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.watches, token)
}

// unwatch tells xenstored, if it can be told; an event that still comes finds no watch.
func (c *Client) unwatch(w *watch, token string) {
	c.mu.Lock()
	delete(c.watches, token)
	now := c.conn
	c.mu.Unlock()
	if now == nil || c.over.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.over, time.Second)
	defer cancel()
	_, _ = now.request(ctx, opUnwatch, 0, arguments(w.path, token))
}

func (c *Client) event(path, token string) {
	c.mu.Lock()
	w := c.watches[token]
	c.mu.Unlock()
	if w != nil {
		w.add(path)
	}
}
