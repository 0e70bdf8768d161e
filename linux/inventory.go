package linux

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice"
	"sluice/linux/tc"
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
	conn    *tc.Conn
	events  *tc.Events
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
	i := &Inventory{sources: s, log: log, watchers: make(map[chan struct{}]struct{})}
	var err error
	if i.conn, err = tc.Dial(); err == nil {
		if i.events, err = tc.Subscribe(); err != nil {
			i.conn.Close()
		}
	}
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's network devices cannot be reached", Err: err}
	}
	if err := i.list(); err != nil {
		i.conn.Close()
		i.events.Close()
		return nil, err
	}
	return i, nil
}

// Run follows the devices until ctx ends.
func (i *Inventory) Run(ctx context.Context) error {
	defer i.conn.Close()
	updates := make(chan bool)
	go func() {
		defer close(updates)
		for {
			events, err := i.events.Receive()
			if err != nil {
				return
			}
			if !slices.ContainsFunc(events, func(e tc.Event) bool { return e.Link || e.Ifindex == 0 }) {
				continue
			}
			select {
			case updates <- true:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer i.events.Close()
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
	links, err := i.conn.Links()
	if err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the devices cannot be listed", Err: err}
	}
	master := 0
	if i.sources.Bridge != "" {
		at := slices.IndexFunc(links, func(l tc.Link) bool { return l.Name == i.sources.Bridge })
		if at < 0 {
			if i.vifs != nil {
				i.log.Warn("the bridge has gone", "bridge", i.sources.Bridge)
			} else {
				return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no bridge %s", i.sources.Bridge), Try: "ip link show type bridge"}
			}
		} else {
			master = links[at].Index
		}
	}
	named := make(map[string]sluice.VIF)
	for _, v := range i.sources.Static {
		named[v.Device] = v
	}
	vifs, index := []sluice.VIF{}, make(map[string]int)
	for _, l := range links {
		v, ok := named[l.Name]
		if !ok && i.isVIF(l, master) {
			v, ok = sluice.VIF{VM: l.Name, Device: l.Name}, true
		}
		if ok {
			vifs = append(vifs, v)
			index[l.Name] = l.Index
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
func (i *Inventory) isVIF(l tc.Link, master int) bool {
	if l.Name == i.sources.Uplink {
		return false
	}
	if i.sources.Bridge != "" && (master == 0 || l.Master != master) {
		return false
	}
	switch l.Kind {
	case "tun":
		return l.TunTap
	case "macvtap", "veth":
		return true
	}
	// Xen's back-ends are plain devices of their driver.
	return strings.HasPrefix(l.Name, "vif") && l.Kind == ""
}
