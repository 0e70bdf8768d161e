package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"

	"sluice"
)

const (
	memberName = "sluice" // of the only member

	// clientSocket is for etcdctl and whoever else writes the device store.
	clientSocket = "client.sock"

	// startTimeout is generous: a start takes a third of a second, after a
	// crash it replays at most snapshotEntries writes. But each of its syncs
	// waits for what others have the disk write, and that can be gigabytes.
	startTimeout = 60 * time.Second

	// snapshotEntries is how many writes etcd holds in memory and in its log,
	// and replays after a crash. Ours are about 1 KiB.
	snapshotEntries = 1000
	// logFiles is how many files of its log are kept at least, for people who
	// look at them.
	logFiles = 2

	// commitEvery is how often etcd moves what its write-ahead log already
	// holds into its database. The commit holds up writers for a sync of the
	// disk, so it should be rarer than one change in a hundred.
	commitEvery = 2 * time.Second

	// sizeLimit is where etcd refuses to grow. Ten thousand journalled
	// changes and as many vifs take a tenth of it.
	sizeLimit = 512 << 20
)

// init is where etcd lets the size of its log's files be said: nowhere else.
func init() { wal.SegmentSizeBytes = logSize }

// claim makes dir, private to its owner, and locks it for this process.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the state directory cannot be made",
			Try: "a directory on a local disk that is writable for this user", Err: err}
	}
	home, err := os.Open(dir)
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the state directory cannot be opened",
			Try: "run as root", Err: err}
	}
	if err := home.Chmod(0o700); err != nil {
		home.Close()
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the state directory cannot be made private",
			Try: "run as its owner", Err: err}
	}
	if err := unix.Flock(int(home.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		home.Close()
		return nil, &sluice.Error{Code: sluice.Unavailable,
			Message: fmt.Sprintf("the state directory %s is used by another daemon", dir),
			Try:     "stop the other one; of a host only one shapes the vifs"}
	}
	return home, nil
}

// start runs a member and waits until it serves.
func (s *Store) start(ctx context.Context) (*member, error) {
	if err := s.makeRoom(); err != nil {
		return nil, err
	}
	if err := verify(s.dir); err != nil && !unborn(s.dir) {
		return nil, err
	}
	if err := logThere(s.dir); err != nil {
		return nil, err
	}
	m := new(member)
	m.alive, m.fail = context.WithCancelCause(context.Background())
	err := s.run(ctx, m)
	if err == nil {
		m.client = v3client.New(m.server.Server)
		err = s.learn(ctx, m)
	}
	if err != nil {
		m.fail(err)
		s.end(m)
		return nil, err
	}
	_ = s.allocate(m.server.Server.Backend().Size()) // and again, and said, by watchDisk
	return m, nil
}

func (s *Store) run(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	type started struct {
		server *embed.Etcd
		err    error
	}
	result := make(chan started, 1)
	go func() {
		// A damaged file shows itself as a panic or a memory fault.
		debug.SetPanicOnFault(true)
		defer func() {
			if p := recover(); p != nil {
				result <- started{err: fmt.Errorf("%v", p)}
			}
		}()
		server, err := embed.StartEtcd(s.config(m))
		result <- started{server, err}
	}()
	select {
	case r := <-result:
		if r.err != nil {
			return r.err
		}
		m.server = r.server
	case <-m.alive.Done():
		return context.Cause(m.alive)
	case <-ctx.Done():
		return fmt.Errorf("it did not start: %w", ctx.Err())
	}
	select {
	case <-m.server.Server.ReadyNotify():
		return nil
	case err := <-m.server.Err():
		return err
	case <-m.alive.Done():
		return context.Cause(m.alive)
	case <-ctx.Done():
		return fmt.Errorf("it did not become ready in time, as happens on a disk that is overwhelmed: %w", ctx.Err())
	}
}

// config is one member, alone, small and quiet.
func (s *Store) config(m *member) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir = memberName, s.dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(quiet(s.log, m.fail))

	// A member without peers listens to none. The name stands in for the
	// address that nobody will dial.
	nobody := url.URL{Scheme: "unix", Host: memberName}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{nobody}
	c.InitialCluster = memberName + "=" + nobody.String()
	// A socket's path has at most 107 bytes. Through the open directory it
	// is short wherever the directory is.
	socket := url.URL{Scheme: "unix", Host: fmt.Sprintf("/proc/self/fd/%d/%s", s.home.Fd(), clientSocket)}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{socket}, []url.URL{nobody}
	c.EnableGRPCGateway = false

	// Alone, it elects itself, and no heartbeat can be late. Faster ticks start
	// it sooner, and cost more for ever after: 20 ms are 1.5 % of a core.
	c.TickMs, c.ElectionMs = 50, 250
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotEntries, snapshotEntries/4
	c.BackendBatchInterval = commitEvery
	c.QuotaBackendBytes = sizeLimit
	c.MaxWalFiles, c.MaxSnapFiles = logFiles, logFiles
	c.AutoCompactionRetention = "0" // none: keepHouse does it, by count
	return c
}

// broken says that the store in dir cannot be used, and why.
func (s *Store) broken(err error) error {
	var known *sluice.Error
	if errors.As(err, &known) {
		return known
	}
	if full := enoughSpace(s.dir, spaceToWrite); full != nil {
		return full
	}
	e := &sluice.Error{
		Code:      sluice.Unavailable,
		Message:   fmt.Sprintf("the store in %s cannot be used", s.dir),
		Unchanged: "what the kernel enforces stays as it is",
		Try:       "the daemon's log says more; if the files are damaged, restore them, or move the directory away to begin anew without settings",
		Err:       err,
	}
	return e
}
