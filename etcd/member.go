package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/sys/unix"

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

// retire ends a member. Until there is another, requests are told why.
func (s *Store) retire(m *member, why error) {
	s.lack(why)
	s.now.Store(nil)
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

// seize takes all files of etcd in dir from whatever still has them open: a
// member that failed may never close its own, and their locks keep another
// from starting. Their descriptors then lead to /dev/null, and their numbers
// stay taken, so that nothing is written to what somebody else opens.
func seize(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	const fds = "/proc/self/fd"
	open, err := os.ReadDir(fds)
	if err != nil {
		return err
	}
	for _, e := range open {
		to, err := os.Readlink(filepath.Join(fds, e.Name()))
		if err != nil || !strings.HasPrefix(to, filepath.Join(dir, "member")+"/") {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// The database is mapped, which keeps its lock beyond its descriptor.
		_ = unix.Flock(fd, unix.LOCK_UN)
		if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return nil
}

// purge deletes the log's files that etcd needs no more, which it has unlocked.
// It does so itself, but only every half minute: in that time a busy log grows
// by hundreds of megabytes.
func purge(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, name := range files[:max(0, len(files)-logFiles)] {
		locked, err := fileutil.TryLockFile(name, os.O_WRONLY, fileutil.PrivateFileMode)
		if err != nil {
			return nil // etcd has it, and so all after it
		}
		err = os.Remove(name)
		locked.Close()
		if err != nil {
			return err
		}
	}
	return nil
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
