// Package follow keeps in touch with a daemon of the host that may be away, or
// not be installed: it is tried again for ever, and why it does not answer is
// said once.
package follow

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	againFirst = 250 * time.Millisecond
	againLast  = 5 * time.Second
)

// ErrAbsent is that this host has no such daemon, or that it does not run.
var ErrAbsent = errors.New("there is no socket")

// Socket is the first of the paths that is there. The error is [ErrAbsent].
func Socket(paths []string) (string, error) {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", ErrAbsent
}

// Daemon is one that is followed. It is safe for concurrent use.
type Daemon struct {
	name, its string
	log       *slog.Logger

	mu      sync.Mutex
	problem error
	seen    bool // it has answered once
}

// New makes one of that name; its are what it names, in the plural, for the log.
func New(name, its string, log *slog.Logger) *Daemon { return &Daemon{name: name, its: its, log: log} }

// Name is what people call the daemon.
func (d *Daemon) Name() string { return d.name }

// Problem is why the daemon does not answer; nil if it does, or if this host has
// none. present says whether it has.
func (d *Daemon) Problem() (err error, present bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problem, d.seen || d.problem != nil
}

// Answered notes that it answers; the log says so with args where it did not before.
func (d *Daemon) Answered(args ...any) {
	d.mu.Lock()
	again := d.problem != nil || !d.seen
	d.problem, d.seen = nil, true
	d.mu.Unlock()
	if again {
		d.log.Info(d.name+" answers", args...)
	}
}

// Follow has once follow one connection to its end, which is the error, and
// again until ctx ends.
func (d *Daemon) Follow(ctx context.Context, once func(ctx context.Context) error) {
	for pause := againFirst; ctx.Err() == nil; pause = min(2*pause, againLast) {
		begin := time.Now()
		err := once(ctx)
		if ctx.Err() != nil {
			return
		}
		d.lost(err)
		if time.Since(begin) > againLast {
			pause = againFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// lost notes why the daemon does not answer, and says so once.
func (d *Daemon) lost(err error) {
	d.mu.Lock()
	was := d.problem
	if errors.Is(err, ErrAbsent) && !d.seen {
		err = nil // a host without it
	}
	d.problem = err
	d.mu.Unlock()
	if err != nil && (was == nil || was.Error() != err.Error()) {
		d.log.Warn(d.name+" does not answer, so its "+d.its+" keep the names that are known; it is tried again", "error", err)
	}
}
