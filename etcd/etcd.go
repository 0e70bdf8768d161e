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
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"sluice"
)

// requestTimeout bounds every request. A healthy store answers within
// milliseconds; seconds mean a disk that does not.
const requestTimeout = 5 * time.Second

// Store is a [control.Store]. It is safe for concurrent use.
type Store struct {
	client *clientv3.Client
	server *embed.Etcd
	dir    string
	home   *os.File // dir, open: holds the lock, and gives the socket a short path
	log    *slog.Logger
	lastID atomic.Uint64

	// alive ends, with the reason as its cause, when the store can no longer
	// be used: a failed disk, or Close.
	alive  context.Context
	fail   context.CancelCauseFunc
	chores sync.WaitGroup
	tidy   chan struct{} // wakes the housekeeping
}

// errClosed is why a store is unusable after Close.
var errClosed error = &sluice.Error{Code: sluice.Unavailable, Message: "the store is closed"}

// Open starts the store in dir, which it makes where it is missing, and
// returns when the store is ready. A dir that is another daemon's, full or
// corrupt is an error with code [sluice.Unavailable] that names it.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Store, error) {
	home, err := claim(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, home: home, log: log, tidy: make(chan struct{}, 1)}
	s.alive, s.fail = context.WithCancelCause(context.Background())
	if err := s.start(ctx); err != nil {
		s.fail(err)
		home.Close()
		return nil, s.broken(err)
	}
	s.client = v3client.New(s.server.Server)
	last, err := s.newestID(ctx)
	if err != nil {
		s.Close()
		return nil, err
	}
	s.lastID.Store(last)
	s.chores.Go(s.keepHouse)
	return s, nil
}

// Failed is closed when the store cannot be used any more, be it by a failed
// disk or by Close; [Store.Err] then says why.
func (s *Store) Failed() <-chan struct{} { return s.alive.Done() }

// Err is why the store cannot be used any more, or nil.
func (s *Store) Err() error {
	err := context.Cause(s.alive)
	if err == nil || errors.Is(err, errClosed) {
		return err
	}
	return s.broken(err)
}

// Close stops the store. What was acknowledged is on disk long before.
func (s *Store) Close() error {
	failed := s.alive.Err() != nil
	s.fail(errClosed)
	s.chores.Wait()
	if !failed {
		// After a failure the server's goroutines stand still where they
		// failed, and closing would wait for them for ever.
		s.client.Close()
		s.server.Close()
	}
	return s.home.Close()
}

// bound gives one request its deadline and its end when the store fails.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	stop := context.AfterFunc(s.alive, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// unanswered wraps an error of etcd's client.
func (s *Store) unanswered(err error) error {
	if cause := s.Err(); cause != nil {
		return cause
	}
	return &sluice.Error{
		Code:    sluice.Unavailable,
		Message: fmt.Sprintf("the store in %s did not answer", s.dir),
		Try:     "look at the disk's health and at the daemon's log",
		Err:     err,
	}
}
