package etcd

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"sluice/control"
)

const (
	// endTime is how long a member may take to end. One that failed may have
	// goroutines that wait for ever.
	endTime     = 10 * time.Second
	endFailTime = 2 * time.Second
	// lookEvery is how often disk and member are looked at.
	lookEvery = 500 * time.Millisecond
	// startAgain is the longest pause between two starts of a member.
	startAgain = 30 * time.Second
)

// member is one run of etcd in this process.
type member struct {
	client *clientv3.Client
	server *embed.Etcd
	// alive ends, with the reason as its cause, when the member can no longer
	// be used.
	alive context.Context
	fail  context.CancelCauseFunc
	// asked is held for reading by each request under way.
	asked sync.RWMutex
}

// supervise replaces a member that fails, or whose log cannot go on, until
// the store is closed.
func (s *Store) supervise() {
	pause := lookEvery
	for {
		m := s.now.Load()
		failed := make(<-chan struct{})
		if m != nil {
			failed = m.alive.Done()
		}
		select {
		case <-s.closing.Done():
			return
		case <-failed:
		case <-time.After(pause):
		}
		pause = lookEvery
		switch {
		case m != nil && m.alive.Err() != nil:
			why := s.broken(context.Cause(m.alive))
			s.log.Error("the store failed and is started again; what the kernel enforces stays as it is", "error", why)
			s.retire(m, why)
		case m != nil && s.watchDisk(m):
			continue
		case m != nil: // its log has no next file, and there is room for one now
			s.log.Info("the disk of the store has room again: the store is started again")
			s.retire(m, s.renewing())
		}
		pause = s.replace()
	}
}

// retire ends a member, after the requests under way where it can still answer
// them: of a write that it leaves without an answer nobody knows whether it
// was made. Until there is another member, requests are told why.
func (s *Store) retire(m *member, why error) {
	s.lack(why)
	s.now.Store(nil)
	if m.alive.Err() == nil {
		m.asked.Lock()   // each request has a deadline
		m.asked.Unlock() // later ones see that it serves no more
	}
	s.end(m)
}

// replace starts a member, and returns after what pause to look again.
func (s *Store) replace() time.Duration {
	m, err := s.start(s.closing)
	if err == nil {
		s.use(m)
		s.log.Info("the store is open again")
		s.attempts = 0
		return lookEvery
	}
	if s.closing.Err() != nil {
		return lookEvery
	}
	err = s.broken(err)
	s.lack(err)
	pause := min(lookEvery<<min(s.attempts, 10), startAgain)
	s.attempts++
	s.log.Warn("the store cannot be opened, retrying", "again_in", pause, "error", err)
	// Room on the disk ends the pause: whoever made it waits for the store.
	for until := time.Now().Add(pause); time.Now().Before(until); {
		before := enoughSpace(s.dir, spaceToWrite)
		select {
		case <-s.closing.Done():
			return lookEvery
		case <-time.After(lookEvery):
		}
		if before != nil && enoughSpace(s.dir, spaceToWrite) == nil {
			s.attempts = 0
			break
		}
	}
	return 0
}

// end stops a member and takes its files, whether it ends or not.
func (s *Store) end(m *member) {
	patience := endTime
	if m.alive.Err() != nil {
		patience = endFailTime
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if m.client != nil {
			m.client.Close()
		}
		if m.server != nil {
			m.server.Close()
		}
	}()
	select {
	case <-ended:
	case <-time.After(patience):
	}
	m.fail(errClosed)
	if err := seize(s.dir); err != nil {
		s.log.Warn("the store's files could not be taken from a member that does not end", "error", err)
	}
}

// learn reads what a new member knows.
func (s *Store) learn(ctx context.Context, m *member) error {
	last, err := s.newestID(ctx, m)
	if err != nil {
		return err
	}
	r, err := m.client.Get(ctx, vifPrefix, clientv3.WithPrefix())
	if err != nil {
		return s.unanswered(m, err)
	}
	known := make(map[string]control.Node, len(r.Kvs))
	for _, kv := range r.Kvs {
		if u, err := update(kv); err == nil {
			known[u.Key] = u.Node
		}
	}
	s.mu.Lock()
	s.known = known
	s.mu.Unlock()
	s.lastID.Store(max(last, s.lastID.Load()))
	return nil
}
