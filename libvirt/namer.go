package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"sluice"
	"sluice/broadcast"
	"sluice/follow"
)

// Sockets are where libvirtd, and virtqemud of a libvirt in parts, answer.
var Sockets = []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}

const (
	answerWithin = 10 * time.Second     // a request
	listWithin   = 60 * time.Second     // all domains
	lookEvery    = 10 * time.Second     // whether it still answers
	atOnce       = 16                   // domains that are asked for at a time
	debounce     = 5 * time.Millisecond // events come in several
)

// Namer follows a host's libvirt. It is safe for concurrent use.
type Namer struct {
	*follow.Daemon
	sockets []string
	uri     libvirt.ConnectURI
	log     *slog.Logger
	changes broadcast.Hub[struct{}]

	mu      sync.Mutex
	domains map[libvirt.UUID]domain
}

// New makes a Namer of the libvirt that answers at one of the sockets.
func New(sockets []string, log *slog.Logger) *Namer {
	return &Namer{Daemon: follow.New("libvirt", "VMs", log), sockets: sockets, uri: libvirt.QEMUSystem, log: log, domains: make(map[libvirt.UUID]domain)}
}

// VIFs are the interfaces of the domains that run, as libvirt told them last.
// DeviceMAC is what the device has if it is the one that was meant.
func (n *Namer) VIFs() []sluice.VIF {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []sluice.VIF
	for _, d := range n.domains {
		all = append(all, d.vifs...)
	}
	return all
}

// Collectors are the paths of the channels' sockets, by the VM's UUID.
func (n *Namer) Collectors() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[string]string)
	for _, d := range n.domains {
		if d.collector != "" && len(d.vifs) > 0 {
			all[d.vifs[0].UUID] = d.collector
		}
	}
	return all
}

// Watch sends after every change of VIFs or Collectors until ctx ends.
func (n *Namer) Watch(ctx context.Context) <-chan struct{} { return n.changes.Watch(ctx, 1) }

// Run follows libvirt until ctx ends, whether it is there yet or not.
func (n *Namer) Run(ctx context.Context) { n.Follow(ctx, n.follow) }

// dial connects to the first socket that there is.
func (n *Namer) dial(ctx context.Context) (net.Conn, error) {
	path, err := follow.Socket(n.sockets)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: answerWithin}
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return &framed{Conn: c}, nil
}

// dialed is a connection that is there, for the library.
type dialed struct{ conn net.Conn }

func (d dialed) Dial() (net.Conn, error) { return d.conn, nil }

// follow follows one connection to its end, which is the error.
func (n *Namer) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	conn, err := n.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // which ends every request under way
	l := libvirt.NewWithDialer(dialed{conn})
	// in bounds what the library does by time: it waits for ever.
	in := func(within time.Duration, what string, do func() error) error {
		late := time.AfterFunc(within, func() { conn.Close() })
		err := do()
		if !late.Stop() {
			return fmt.Errorf("%s: no answer within %s", what, within)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	if err := in(answerWithin, "connecting", func() error { return l.ConnectToURI(n.uri) }); err != nil {
		return err
	}
	dirty := make(chan libvirt.UUID, 1024)
	for _, event := range []libvirt.DomainEventID{libvirt.DomainEventIDLifecycle, libvirt.DomainEventIDDeviceAdded, libvirt.DomainEventIDDeviceRemoved, libvirt.DomainEventIDAgentLifecycle, libvirt.DomainEventIDMetadataChange} {
		err := in(answerWithin, "subscribing to events", func() error {
			events, err := l.SubscribeEvents(ctx, event, nil)
			if err == nil {
				go relay(ctx, events, dirty)
			}
			return err
		})
		if err != nil && !errors.Is(err, libvirt.ErrUnsupported) { // an older libvirt has not all of them
			return err
		}
	}
	if err := in(listWithin, "listing the domains", func() error { return n.list(l) }); err != nil {
		return err
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.Disconnected():
			return errors.New("it closed the connection")
		case <-look.C:
			err = in(answerWithin, "asking for its version", func() error { _, err := l.ConnectGetLibVersion(); return err })
		case id := <-dirty:
			ids := map[libvirt.UUID]bool{id: true}
			for soon := time.After(debounce); soon != nil; {
				select {
				case id := <-dirty:
					ids[id] = true
				case <-soon:
					soon = nil
				}
			}
			err = in(listWithin, "asking for domains", func() error { return n.refresh(l, slices.Collect(maps.Keys(ids))) })
		}
		if err != nil {
			return err
		}
	}
}

// relay passes on whom events are about, until they end.
func relay(ctx context.Context, events <-chan any, dirty chan<- libvirt.UUID) {
	for e := range events {
		var id libvirt.UUID
		switch e := e.(type) {
		case *libvirt.DomainEventCallbackLifecycleMsg:
			id = e.Msg.Dom.UUID
		case *libvirt.DomainEventCallbackDeviceAddedMsg:
			id = e.Dom.UUID
		case *libvirt.DomainEventCallbackDeviceRemovedMsg:
			id = e.Msg.Dom.UUID
		case *libvirt.DomainEventCallbackMetadataChangeMsg:
			id = e.Dom.UUID
		case *libvirt.DomainEventCallbackAgentLifecycleMsg:
			id = e.Dom.UUID
		default:
			continue
		}
		select {
		case dirty <- id:
		case <-ctx.Done():
			// The library waits until all that it has is taken.
		}
	}
}

// list asks for all domains that run, and forgets those that do not.
func (n *Namer) list(l *libvirt.Libvirt) error {
	running, _, err := l.ConnectListAllDomains(1, libvirt.ConnectListDomainsActive)
	if err != nil {
		return err
	}
	domains, err := n.ask(l, running)
	if err != nil {
		return err
	}
	n.mu.Lock()
	changed := !maps.EqualFunc(n.domains, domains, same)
	n.domains = domains
	n.mu.Unlock()
	n.Answered("domains", len(domains))
	if changed {
		n.changes.Send(struct{}{})
	}
	return nil
}

// refresh asks for some domains again.
func (n *Namer) refresh(l *libvirt.Libvirt, ids []libvirt.UUID) error {
	var running []libvirt.Domain
	for _, id := range ids {
		d, err := l.DomainLookupByUUID(id)
		switch {
		case libvirt.IsNotFound(err), err == nil && d.ID < 0: // it does not run
		case err != nil:
			return err
		default:
			running = append(running, d)
		}
	}
	domains, err := n.ask(l, running)
	if err != nil {
		return err
	}
	n.mu.Lock()
	changed := false
	for _, id := range ids {
		was, had := n.domains[id]
		is, has := domains[id]
		changed = changed || had != has || !same(was, is)
		if delete(n.domains, id); has {
			n.domains[id] = is
		}
	}
	n.mu.Unlock()
	if changed {
		n.changes.Send(struct{}{})
	}
	return nil
}

// ask reads domains' XML, several at a time. One that has gone, or whose XML
// is senseless, is left out.
func (n *Namer) ask(l *libvirt.Libvirt, running []libvirt.Domain) (map[libvirt.UUID]domain, error) {
	var mu sync.Mutex
	domains := make(map[libvirt.UUID]domain, len(running))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, d := range running {
		group.Go(func() error {
			text, err := l.DomainGetXMLDesc(d, 0)
			if libvirt.IsNotFound(err) {
				return nil
			}
			var told libvirt.Error
			if err != nil && !errors.As(err, &told) {
				return err
			}
			var is domain
			if err == nil {
				is, err = parse([]byte(text))
			}
			if err != nil {
				n.log.Warn("a domain of libvirt's cannot be named", "domain", sluice.Printable(d.Name), "error", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			domains[d.UUID] = is
			return nil
		})
	}
	return domains, group.Wait()
}

func same(a, b domain) bool { return a.collector == b.collector && slices.Equal(a.vifs, b.vifs) }
