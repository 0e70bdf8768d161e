// Package lxd says whose the network devices of LXD's and Incus's instances
// are: both answer to the same requests on a Unix socket, and tell what happens
// on a websocket. It reads and changes nothing.
package lxd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"sluice"
	"sluice/broadcast"
	"sluice/follow"
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
	answerWithin = 30 * time.Second      // all instances
	debounce     = 20 * time.Millisecond // between two listings
	lookEvery    = 30 * time.Second      // should an event ever be lost
	mostEvent    = 1 << 20               // bytes
)

// Namer follows one daemon. It is safe for concurrent use.
type Namer struct {
	*follow.Daemon
	sockets []string
	changes broadcast.Hub[struct{}]
	dirty   chan struct{}

	mu   sync.Mutex
	vifs []sluice.VIF
}

// New makes a Namer of a daemon.
func New(d Daemon, log *slog.Logger) *Namer {
	return &Namer{Daemon: follow.New(d.Name, "instances", log), sockets: d.Sockets, dirty: make(chan struct{}, 1)}
}

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

// Run follows the daemon until ctx ends, whether it is there yet or not.
func (n *Namer) Run(ctx context.Context) { n.Follow(ctx, n.follow) }

// follow follows one run of the daemon to its end, which is the error.
func (n *Namer) follow(ctx context.Context) error {
	path, err := follow.Socket(n.sockets)
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
	changed := !slices.Equal(n.vifs, vifs)
	n.vifs = vifs
	n.mu.Unlock()
	n.Answered("interfaces", len(vifs))
	if changed {
		n.changes.Send(struct{}{})
	}
	return nil
}
