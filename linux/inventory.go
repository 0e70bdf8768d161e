package linux

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice"
	"sluice/broadcast"
	"sluice/linux/tc"
)

// Sources say which devices are vifs, and whose.
type Sources struct {
	// Bridges are those whose ports are vifs, of Linux or of Open vSwitch; none
	// takes every tap, macvtap and veth there is. The kernel does not say which
	// of Open vSwitch's bridges a port is of: any takes those of all.
	Bridges []string
	// Uplink is the device to the outside where it is a veth or a tap, which
	// would be taken for a vif otherwise; "" if it is neither.
	Uplink string
	// Static are vifs that a person named, by their devices.
	Static []sluice.VIF
	// Namers say of the other devices whose they are, the first that knows
	// one. A device that nobody knows is named after itself.
	Namers []Namer
}

// Namer knows whose devices are. One that fails costs only names.
type Namer interface {
	// VIFs are those that it knows, with their devices. DeviceMAC is the MAC of
	// the device that is meant, "" where that is not known.
	VIFs() []sluice.VIF
	// Watch sends after every change of VIFs until ctx ends.
	Watch(ctx context.Context) <-chan struct{}
}

// follower is a [Namer] that is told when devices changed, and asks anew whose
// they are then.
type follower interface{ DevicesChanged() }

// Inventory knows the vifs of a host from its network devices. It is safe
// for concurrent use.
type Inventory struct {
	sources Sources
	conn    *tc.Conn
	events  *tc.Events
	log     *slog.Logger
	changes broadcast.Hub[struct{}]

	lacking map[string]bool // the bridges that were not there when they were looked for last

	mu    sync.Mutex
	vifs  []sluice.VIF
	index map[string]int // of each vif's device
}

const (
	debounce = 2 * time.Millisecond // devices come in swarms
	restful  = 5                    // between two listings are as many times what one takes
	relist   = 10 * time.Second     // should an event ever be lost
)

// NewInventory looks at the devices of the calling thread's network
// namespace. A bridge that is not there yet is waited for.
func NewInventory(s Sources, log *slog.Logger) (*Inventory, error) {
	i := &Inventory{sources: s, log: log, lacking: make(map[string]bool)}
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
	named := make(chan struct{}, 1)
	for _, n := range i.sources.Namers {
		changes := n.Watch(ctx)
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-changes:
				}
				select {
				case named <- struct{}{}:
				default:
				}
			}
		}()
	}
	regular := time.NewTicker(relist)
	defer regular.Stop()
	var soon <-chan time.Time
	var last time.Time        // when the last listing ended
	var took [2]time.Duration // what the last two took: one may have waited for the kernel's lock
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
				soon = time.After(max(debounce, restful*min(took[0], took[1])-time.Since(last)))
			}
			continue
		case <-soon:
			soon = nil
			for _, n := range i.sources.Namers {
				if f, ok := n.(follower); ok {
					f.DevicesChanged()
				}
			}
		case <-named:
		case <-regular.C:
		}
		begin := time.Now()
		err := i.list()
		last = time.Now()
		took = [2]time.Duration{last.Sub(begin), took[0]}
		if err != nil {
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
func (i *Inventory) Watch(ctx context.Context) <-chan struct{} { return i.changes.Watch(ctx, 1) }

// list reads the devices anew and tells who watches if something changed.
func (i *Inventory) list() error {
	links, err := i.conn.Links()
	if err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the devices cannot be listed", Err: err}
	}
	master := i.masters(links)
	named, joints := i.names(), joints(links)
	for grown := true; grown; {
		grown = false
		for a, b := range joints {
			if master[b.Master] && !master[a.Master] {
				master[a.Master], grown = true, true
			}
		}
	}
	vifs, index := []sluice.VIF{}, make(map[string]int)
	for _, l := range links {
		v, ok := named[l.Name]
		if _, joint := joints[l]; joint && !ok {
			continue
		}
		if ok = ok && (v.DeviceMAC == "" || v.DeviceMAC == l.MAC); !ok && i.isVIF(l, master) {
			v, ok = sluice.VIF{VM: sluice.Printable(l.Name), Device: l.Name}, true
		}
		if ok && i.elsewhere(l, v, master) {
			continue
		}
		if ok {
			v.DeviceMAC, v.DeviceIndex = l.MAC, l.Index
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
	i.changes.Send(struct{}{})
	return nil
}

// masters are the bridges that are asked for, those that are there.
func (i *Inventory) masters(links []tc.Link) map[int]bool {
	master := make(map[int]bool)
	at := func(name string) int { return slices.IndexFunc(links, func(l tc.Link) bool { return l.Name == name }) }
	for _, name := range i.sources.Bridges {
		n := at(name)
		if n >= 0 {
			master[links[n].Index] = true
			if links[n].Kind == "openvswitch" {
				if datapath := at("ovs-system"); datapath >= 0 { // the master of all its ports (net/openvswitch/vport-netdev.c)
					master[links[datapath].Index] = true
				}
			}
		}
		if lacking := n < 0; lacking != i.lacking[name] {
			i.lacking[name] = lacking
			if lacking {
				i.log.Warn("there is no such bridge now; it is waited for", "bridge", name)
			} else {
				i.log.Info("the bridge is there", "bridge", name)
			}
		}
	}
	return master
}

// joints are the ends of the veth pairs that join two bridges, each with its
// other end. A VM's frames pass them, but they are no VM's: Proxmox's firewall
// has such (fwln100i0 and fwpr100p0).
func joints(links []tc.Link) map[tc.Link]tc.Link {
	ports := make(map[int]tc.Link)
	for _, l := range links {
		if l.Kind == "veth" && l.Master != 0 && !l.Abroad {
			ports[l.Index] = l
		}
	}
	all := make(map[tc.Link]tc.Link)
	for _, l := range ports {
		if other, ok := ports[l.Parent]; ok && other.Parent == l.Index && other.Master != l.Master {
			all[l] = other
		}
	}
	return all
}

// names are the vifs that somebody named, by their devices.
func (i *Inventory) names() map[string]sluice.VIF {
	named := make(map[string]sluice.VIF)
	for _, v := range i.sources.Static {
		named[v.Device] = v
	}
	for _, n := range i.sources.Namers {
		for _, v := range n.VIFs() {
			if _, taken := named[v.Device]; !taken {
				named[v.Device] = v
			}
		}
	}
	return named
}

// elsewhere says whether a device that a namer named is outside of the bridges
// whose ports are asked for. One that a person named is wanted wherever it is.
func (i *Inventory) elsewhere(l tc.Link, v sluice.VIF, master map[int]bool) bool {
	if len(i.sources.Bridges) == 0 || master[l.Master] {
		return false
	}
	return !slices.ContainsFunc(i.sources.Static, func(s sluice.VIF) bool { return s.Device == v.Device })
}

// isVIF says whether a device that nobody named is a vif. An uplink that is a
// port of the bridge too is a physical device or a bond, or was named.
func (i *Inventory) isVIF(l tc.Link, master map[int]bool) bool {
	if l.Name == i.sources.Uplink {
		return false
	}
	if len(i.sources.Bridges) > 0 && !master[l.Master] {
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
