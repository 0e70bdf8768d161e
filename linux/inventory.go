package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

// Sources say which devices are vifs, and whose.
type Sources struct {
	// Bridge is the bridge whose ports are vifs; "" takes every tap, macvtap
	// and veth there is.
	Bridge string
	// Uplink is the device to the outside where it is a veth or a tap, which
	// would be taken for a vif otherwise; "" if it is neither.
	Uplink string
	// Static are vifs that a person named, by their devices. Other devices
	// are named after themselves.
	Static []sluice.VIF
}

// Inventory knows the vifs of a host from its network devices. It is safe
// for concurrent use.
type Inventory struct {
	sources Sources
	links   *netlink.Handle
	updates chan netlink.LinkUpdate
	over    chan struct{}
	log     *slog.Logger

	mu       sync.Mutex
	vifs     []sluice.VIF
	index    map[string]int // of each vif's device
	watchers map[chan struct{}]struct{}
}

const (
	settle = 50 * time.Millisecond // devices come in swarms
	relist = 10 * time.Second      // should an event ever be lost
)

// NewInventory looks at the devices of the calling thread's network
// namespace. The error is NotFound if the bridge is not there.
func NewInventory(s Sources, log *slog.Logger) (*Inventory, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's network devices cannot be reached", Err: err}
	}
	i := &Inventory{sources: s, links: links, log: log, watchers: make(map[chan struct{}]struct{})}
	if err := i.list(); err != nil {
		links.Close()
		return nil, err
	}
	if err := i.subscribe(); err != nil {
		links.Close()
		return nil, err
	}
	return i, nil
}

func (i *Inventory) subscribe() error {
	i.updates, i.over = make(chan netlink.LinkUpdate, 256), make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(i.updates, i.over, netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) { i.log.Debug("device events", "error", err) }, ReceiveBufferSize: 1 << 20,
	})
	if err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the kernel does not tell of its devices", Err: err}
	}
	return nil
}

// Run follows the devices until ctx ends.
func (i *Inventory) Run(ctx context.Context) error {
	defer i.links.Close()
	defer close(i.over)
	updates := i.updates
	regular := time.NewTicker(relist)
	defer regular.Stop()
	var soon <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok {
				updates = nil // the regular listing goes on
				continue
			}
			if soon == nil {
				soon = time.After(settle)
			}
			continue
		case <-soon:
			soon = nil
		case <-regular.C:
		}
		if err := i.list(); err != nil {
			i.log.Warn("the devices cannot be listed; the last list stands", "error", err)
		}
	}
}

// VIFs returns every vif present, by VM name and index.
func (i *Inventory) VIFs() []sluice.VIF {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.vifs
}

// Watch sends after every change of VIFs until ctx ends, then closes the channel.
func (i *Inventory) Watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.watchers, ch)
		close(ch)
	})
	return ch
}

// list reads the devices anew and tells who watches if something changed.
func (i *Inventory) list() error {
	links, err := i.links.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the devices cannot be listed", Err: err}
	}
	master := 0
	if i.sources.Bridge != "" {
		at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == i.sources.Bridge })
		if at < 0 {
			if i.vifs != nil {
				i.log.Warn("the bridge has gone", "bridge", i.sources.Bridge)
			} else {
				return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no bridge %s", i.sources.Bridge), Try: "ip link show type bridge"}
			}
		} else {
			master = links[at].Attrs().Index
		}
	}
	named := make(map[string]sluice.VIF)
	for _, v := range i.sources.Static {
		named[v.Device] = v
	}
	vifs, index := []sluice.VIF{}, make(map[string]int)
	for _, l := range links {
		a := l.Attrs()
		v, ok := named[a.Name]
		if !ok && i.isVIF(l, master) {
			v, ok = sluice.VIF{VM: a.Name, Device: a.Name}, true
		}
		if ok {
			vifs = append(vifs, v)
			index[a.Name] = a.Index
		}
	}
	slices.SortFunc(vifs, func(a, b sluice.VIF) int {
		return cmp.Or(strings.Compare(a.VM, b.VM), cmp.Compare(a.Index, b.Index), strings.Compare(a.Device, b.Device))
	})
	i.mu.Lock()
	defer i.mu.Unlock()
	same := slices.Equal(i.vifs, vifs)
	for device, n := range index {
		same = same && i.index[device] == n
	}
	i.vifs, i.index = vifs, index
	if same {
		return nil
	}
	for ch := range i.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	return nil
}

// isVIF says whether a device that nobody named is a vif. An uplink that is a
// port of the bridge too is a physical device or a bond, or was named.
func (i *Inventory) isVIF(l netlink.Link, master int) bool {
	if l.Attrs().Name == i.sources.Uplink {
		return false
	}
	if i.sources.Bridge != "" && (master == 0 || l.Attrs().MasterIndex != master) {
		return false
	}
	switch l := l.(type) {
	case *netlink.Tuntap:
		return l.Mode == netlink.TUNTAP_MODE_TAP
	case *netlink.Macvtap, *netlink.Veth:
		return true
	}
	// Xen's back-ends are plain devices of their driver.
	return strings.HasPrefix(l.Attrs().Name, "vif") && l.Type() == "device"
}
