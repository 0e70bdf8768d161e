// Package etcd is the device store and the journal, on etcd. [Open] runs one
// member inside the process, reached by function calls and, for etcdctl, by a
// Unix socket that only root can open; no port is ever opened.
//
// Keys are few and readable, values are JSON:
//
//	/sluice/vifs/web/0               {"tx": ..., "rx": ..., "state": "Connected", "change": 7}
//	/sluice/changes/00000000000000000007   the change, see [sluice.Change]
//
// Both are always written in one transaction, so that neither can be seen
// without the other, also after a crash.
package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sluice"
	"sluice/control"
)

// requestTimeout bounds every request. A healthy store answers within
// milliseconds; seconds mean a disk that does not.
const requestTimeout = 5 * time.Second

// Store is a [control.Store]. It is safe for concurrent use.
//
// etcd ends its process when a write fails. Here a member that fails is
// replaced by another in the same process, and as long as there is none, the
// store refuses changes and goes on telling what is set: watching and shaping
// do not need it to write.
type Store struct {
	dir    string
	home   *os.File // dir, open: holds the lock, and gives the socket a short path
	log    *slog.Logger
	lastID atomic.Uint64
	chores sync.WaitGroup
	tidy   chan struct{} // wakes the housekeeping

	// closing ends with Close.
	closing context.Context
	close   context.CancelFunc

	now   atomic.Pointer[member]
	ready chan struct{} // closed when the first member serves

	mu    sync.Mutex              // guards what follows
	known map[string]control.Node // the newest that was acknowledged or seen of each, for when no member serves
	why   error                   // there is no member

	// Only supervise touches what follows.
	attempts int  // starts of a member that failed in a row
	full     bool // the disk, when it was looked at last
}

// errClosed is why a store is unusable after Close.
var errClosed error = &sluice.Error{Code: sluice.Unavailable, Message: "the store is closed"}

// Open starts the store in dir, which it makes where it is missing, and
// returns when the store is ready. On a disk without room it returns all the
// same, and the store is ready when there is: see [Store.Ready]. A dir that is
// another daemon's or corrupt is an error with code [sluice.Unavailable] that
// names it.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Store, error) {
	home, err := claim(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, home: home, log: log, tidy: make(chan struct{}, 1), ready: make(chan struct{}), known: make(map[string]control.Node)}
	s.closing, s.close = context.WithCancel(context.Background())
	m, err := s.start(ctx)
	switch full := enoughSpace(dir, spaceToWrite); {
	case err == nil:
		s.use(m)
	case full != nil && ctx.Err() == nil:
		s.lack(s.broken(err))
		log.Error("the store cannot be opened, and is tried again when there is room; what the kernel enforces stays as it is", "error", s.broken(err))
	default:
		home.Close()
		return nil, s.broken(err)
	}
	s.chores.Go(s.keepHouse)
	s.chores.Go(s.supervise)
	return s, nil
}

// Ready is closed when the store has been opened.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Close stops the store. What was acknowledged is on disk long before.
func (s *Store) Close() error {
	s.close()
	s.chores.Wait()
	if m := s.now.Load(); m != nil {
		s.retire(m, errClosed)
	}
	return s.home.Close()
}

// use has requests go to a member that serves.
func (s *Store) use(m *member) {
	s.now.Store(m)
	s.lack(nil)
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// lack notes why there is no member.
func (s *Store) lack(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why
}

// ask returns the member that serves now, with a deadline for one request that
// also ends when the member does. The caller calls done after it.
func (s *Store) ask(ctx context.Context) (m *member, bound context.Context, done func(), err error) {
	m = s.now.Load()
	if m != nil {
		m.asked.RLock()
		if s.now.Load() != m { // it was retired in between
			m.asked.RUnlock()
			m = nil
		}
	}
	if m == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.why == nil {
			return nil, nil, nil, errClosed
		}
		return nil, nil, nil, s.why
	}
	bound, cancel := context.WithTimeout(ctx, requestTimeout)
	stop := context.AfterFunc(m.alive, cancel)
	return m, bound, func() {
		m.asked.RUnlock()
		stop()
		cancel()
	}, nil
}

// unanswered wraps an error of etcd's client.
func (s *Store) unanswered(m *member, err error) error {
	if cause := context.Cause(m.alive); cause != nil {
		return s.broken(cause)
	}
	return &sluice.Error{
		Code:    sluice.Unavailable,
		Message: fmt.Sprintf("the store in %s did not answer", s.dir),
		Try:     "look at the disk's health and at the daemon's log",
		Err:     err,
	}
}

// remember keeps a node for when no member serves.
func (s *Store) remember(key string, n control.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[key].Revision <= n.Revision {
		s.known[key] = n
	}
}

// recall is what is remembered; false if nothing was ever read, or the store is closed.
func (s *Store) recall() (map[string]control.Node, bool) {
	select {
	case <-s.closing.Done():
		return nil, false
	default:
	}
	select {
	case <-s.ready:
	default:
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.known), true
}
