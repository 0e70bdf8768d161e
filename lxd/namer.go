// Package lxd says whose the network devices of LXD's and Incus's instances
// are: both answer to the same requests on a Unix socket, and tell what happens
// on a websocket. It reads and changes nothing.
package lxd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"sluice"
	"sluice/broadcast"
)

// Daemon is a daemon of that kind.
type Daemon struct {
	Name    string   // as people call it
	Sockets []string // where it may answer; the first that is there counts
}

// Daemons are those that a host may have: Debian's and the snap's LXD, and Incus.
var Daemons = []Daemon{
	{"LXD", []string{"/var/lib/lxd/unix.socket", "/var/snap/lxd/common/lxd/unix.socket"}},
	{"Incus", []string{"/var/lib/incus/unix.socket", "/run/incus/unix.socket"}},
}

const (
	answerWithin = 30 * time.Second // all instances
	againFirst   = 250 * time.Millisecond
	againLast    = 5 * time.Second
	debounce     = 20 * time.Millisecond // between two listings
	lookEvery    = 30 * time.Second      // should an event ever be lost
	mostEvent    = 1 << 20               // bytes
)

// Namer follows one daemon. It is safe for concurrent use.
type Namer struct {
	daemon  Daemon
	log     *slog.Logger
	changes broadcast.Hub[struct{}]
	dirty   chan struct{}

	mu      sync.Mutex
	vifs    []sluice.VIF
	problem error
	seen    bool // it has answered once
}

// New makes a Namer of a daemon.
func New(d Daemon, log *slog.Logger) *Namer {
	return &Namer{daemon: d, log: log, dirty: make(chan struct{}, 1)}
}

// Name is what people call the daemon.
func (n *Namer) Name() string { return n.daemon.Name }

// VIFs are the interfaces of the instances that run, as the daemon told them last.
func (n *Namer) VIFs() []sluice.VIF {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.vifs
}

// Watch sends after every change of VIFs until ctx ends.
func (n *Namer) Watch(ctx context.Context) <-chan struct{} { return n.changes.Watch(ctx, 1) }

// DevicesChanged has the daemon asked: an instance's device is there before the
// daemon tells that the instance has started.
func (n *Namer) DevicesChanged() {
	select {
	case n.dirty <- struct{}{}:
	default:
	}
}

// Problem is why the daemon does not answer; nil if it does, or if there is
// none on this host. present says whether there is.
func (n *Namer) Problem() (err error, present bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.problem, n.seen || n.problem != nil
}

// Run follows the daemon until ctx ends, whether it is there yet or not.
func (n *Namer) Run(ctx context.Context) {
	for pause := againFirst; ctx.Err() == nil; pause = min(2*pause, againLast) {
		begin := time.Now()
		err := n.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		n.lost(err)
		if time.Since(begin) > againLast {
			pause = againFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

var errAbsent = errors.New("there is no socket")

// lost notes why the daemon does not answer, and says so once.
func (n *Namer) lost(err error) {
	n.mu.Lock()
	was := n.problem
	if errors.Is(err, errAbsent) && !n.seen {
		err = nil // a host without it
	}
	n.problem = err
	n.mu.Unlock()
	if err != nil && (was == nil || was.Error() != err.Error()) {
		n.log.Warn(n.daemon.Name+" does not answer, so its instances keep the names that are known; it is tried again", "error", err)
	}
}

func (n *Namer) socket() (string, error) {
	for _, path := range n.daemon.Sockets {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errAbsent
}

// follow follows one run of the daemon to its end, which is the error.
func (n *Namer) follow(ctx context.Context) error {
	path, err := n.socket()
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: answerWithin}).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	asking, cancel := context.WithTimeout(ctx, answerWithin)
	events, answer, err := websocket.Dial(asking, "ws://daemon/1.0/events?type=lifecycle&all-projects=true", &websocket.DialOptions{HTTPClient: client})
	cancel()
	if err != nil {
		if answer != nil && answer.Body != nil {
			answer.Body.Close()
		}
		return fmt.Errorf("following its events: %w", err)
	}
	defer events.CloseNow()
	events.SetReadLimit(mostEvent)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := events.Read(ctx); err != nil {
				ended <- fmt.Errorf("following its events: %w", err)
				return
			}
			n.DevicesChanged()
		}
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		if err := n.list(ctx, client); err != nil {
			return err
		}
		select { // events come in swarms
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(debounce):
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case <-look.C:
		case <-n.dirty:
		}
	}
}

// list asks for all instances.
func (n *Namer) list(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/1.0/instances?recursion=1&all-projects=true", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("listing its instances: %w", err)
	}
	defer answer.Body.Close()
	vifs, err := parse(answer.Body)
	if err != nil {
		return fmt.Errorf("listing its instances: %w", err)
	}
	n.mu.Lock()
	again := n.problem != nil || !n.seen
	n.problem, n.seen = nil, true
	changed := !slices.Equal(n.vifs, vifs)
	n.vifs = vifs
	n.mu.Unlock()
	if again {
		n.log.Info(n.daemon.Name+" answers", "interfaces", len(vifs))
	}
	if changed {
		n.changes.Send(struct{}{})
	}
	return nil
}
