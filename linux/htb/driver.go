package htb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/linux/tc"
)

// Driver shapes the vifs of a network namespace; see the package comment. It
// is safe for concurrent use.
type Driver struct {
	overhead int
	log      *slog.Logger
	conn     *tc.Conn // for changes, and reading them back
	counting *tc.Conn // for counters, which must not wait for changes, nor they for them
	events   *tc.Events
	owner    int // see own; -1 for none

	lock chan struct{} // one change at a time; what follows is under it

	want       sluice.Effective
	state      State
	unknown    map[string]error // vifs of want that state lacks
	failing    map[string]error // what the last reconcile found not enforced
	links      map[string]int   // indices by name, as last looked up
	sides      sides
	have       map[sluice.Direction]*Kernel
	known      bool                       // have is what the kernel has
	queueKnown map[sluice.Direction]bool  // have says which kind of queue the kernel has
	plans      map[sluice.Direction]Tree  // that were carried out last; nil if they were not, whole
	basis      map[sluice.Direction]basis // what plans were made of
	programs   *programs
	activity   map[sluice.Direction]Activity
	waiting    map[class]time.Time // what is to go, and since when
	again      *time.Timer         // looks at them again
	pause      time.Duration       // until then
	others     disturbances
	tellMost   int    // see [reports]
	complaint  string // what was logged last of a comparison that failed; of the goroutine that runs repair
	closed     bool

	localMu sync.Mutex
	local   map[local]bool // what the map of locals has

	mu       sync.Mutex // for what others read while a change goes on
	problems map[string]string
	at       map[sluice.Direction]map[string]uint16 // classes by name
	devices  map[int]string                         // whose a device is, by ifindex
	missing  bool                                   // a vif's device was not found
	running  *programs
	anyLocal bool // see hasLocal
	ifbs     map[sluice.Direction]int
	plain    bool
	counted  Counts
}

type class struct {
	direction sluice.Direction
	minor     uint16
}

// New makes a driver for the network namespace of the calling thread. A frame
// takes overhead bytes on the link beyond its length in the kernel; [Ethernet]
// is what that is on most. Nothing in the kernel changes before Set. The error
// is [sluice.Unavailable] without netlink, or where another driver shapes this
// namespace.
func New(log *slog.Logger, overhead int) (*Driver, error) {
	owner, err := own()
	if err != nil {
		return nil, err
	}
	d := &Driver{owner: owner, overhead: overhead, log: log, lock: make(chan struct{}, 1), links: map[string]int{},
		have: map[sluice.Direction]*Kernel{}, activity: map[sluice.Direction]Activity{}, waiting: map[class]time.Time{},
		problems: map[string]string{}, at: map[sluice.Direction]map[string]uint16{}, ifbs: map[sluice.Direction]int{},
		queueKnown: map[sluice.Direction]bool{}, basis: map[sluice.Direction]basis{}, local: map[local]bool{}, others: newDisturbances(), tellMost: tellMost}
	for _, dir := range sluice.Directions {
		d.have[dir] = &Kernel{Classes: map[uint16]tc.Class{}, Queues: map[uint16]tc.Qdisc{}, Map: map[int]Entry{}, Hooks: map[int]Hook{}}
	}
	var errs [3]error
	d.conn, errs[0] = tc.Dial()
	d.counting, errs[1] = tc.Dial()
	d.events, errs[2] = tc.Subscribe()
	if err := errors.Join(errs[:]...); err != nil {
		d.Close()
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's traffic control cannot be reached", Err: err}
	}
	return d, nil
}

// Close gives up the connections to the kernel. The kernel goes on shaping.
func (d *Driver) Close() {
	d.lock <- struct{}{}
	defer d.unlock()
	if d.closed {
		return
	}
	d.closed = true
	if d.again != nil {
		d.again.Stop()
	}
	if d.programs != nil {
		d.programs.close()
	}
	for _, c := range []*tc.Conn{d.conn, d.counting} {
		if c != nil {
			c.Close()
		}
	}
	if d.events != nil {
		d.events.Close()
	}
	if d.owner >= 0 {
		unix.Close(d.owner)
	}
}

// acquire takes the lock, or gives up when ctx ends.
func (d *Driver) acquire(ctx context.Context) error {
	select {
	case d.lock <- struct{}{}:
	case <-ctx.Done():
		return notApplied("the driver is busy with another change", ctx.Err())
	}
	if d.closed {
		d.unlock()
		return notApplied("the driver is closed", unix.ENOTCONN)
	}
	return nil
}

func (d *Driver) unlock() { <-d.lock }

// Set makes the kernel enforce want, whose maps must not change any more, and
// nothing else of ours, and reads it back. It returns, by key, the vifs and groups that are not enforced as
// wanted, with the reasons; the others are. The error is that of the whole: then
// nothing is known to be enforced. What a failed Set left behind, the next one
// mends; so the way back is to Set the old state.
//
// The same state again compares everything with the kernel, and changes only
// what differs. A failure's code is Unsupported when this host can never do it, NotFound
// when the device has gone, else NotApplied.
func (d *Driver) Set(ctx context.Context, want sluice.Effective) (failed map[string]error, err error) {
	if err := d.acquire(ctx); err != nil {
		return nil, err
	}
	defer d.unlock()
	look := d.adoptState(want)
	if err := d.resolve(look); err != nil {
		return nil, notApplied("the devices cannot be looked up", err)
	}
	_, failed, err = d.compare(ctx, look, everything)
	if err != nil {
		err = d.explain(sluice.VIF{}, err)
		if ctx.Err() == nil {
			d.failed(err)
		}
		return nil, err
	}
	return failed, nil
}

// adoptState takes in a whole state, and says what to look at for it.
func (d *Driver) adoptState(want sluice.Effective) look {
	changed := map[string]bool{}
	for key, b := range want.VIFs {
		if old, ok := d.want.VIFs[key]; !ok || old != b {
			changed[key] = true
		}
	}
	for key := range d.want.VIFs {
		if _, ok := want.VIFs[key]; !ok {
			changed[key] = true
		}
	}
	same := len(changed) == 0 && want.Capacity == d.want.Capacity && maps.Equal(want.Groups, d.want.Groups)
	d.want = want
	return look{all: !d.known || same, keys: changed}
}

// many is how many objects are looked at one by one; more are listed.
const many = 64

// resolve looks the devices up, and makes the state of what is wanted.
func (d *Driver) resolve(l look) error {
	if l.all || len(l.keys) > many {
		links, err := d.conn.Links()
		if err != nil {
			return err
		}
		d.sides.learn(links...)
		d.links = make(map[string]int, len(links))
		for _, link := range links {
			d.links[link.Name] = link.Index
		}
	} else {
		for key := range l.keys {
			b, ok := d.want.VIFs[key]
			if !ok {
				continue
			}
			link, there, err := d.conn.LinkByName(b.VIF.Device)
			if err != nil {
				return err
			}
			if delete(d.links, b.VIF.Device); there {
				d.sides.learn(link)
				d.links[link.Name] = link.Index
			}
		}
		if d.resolveInPlace(l.keys) {
			return nil
		}
	}
	d.plans = nil // they are made anew: what was before is not known any more
	d.state = State{Capacity: d.want.Capacity, Overhead: d.overhead, Groups: d.want.Groups, VIFs: make(map[string]VIF, len(d.want.VIFs))}
	d.unknown = map[string]error{}
	devices := make(map[int]string, len(d.want.VIFs))
	for key, b := range d.want.VIFs {
		index, ok := d.links[b.VIF.Device]
		if !ok {
			d.unknown[key] = &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no device %s any more", b.VIF, b.VIF.Device)}
			continue
		}
		if other, taken := devices[index]; taken {
			d.unknown[key] = &sluice.Error{Code: sluice.NotApplied, Message: fmt.Sprintf("device %s is also that of %s", b.VIF.Device, d.want.VIFs[other].VIF)}
			continue
		}
		if _, known := d.state.ancestors(b.Want.Group); !known {
			d.unknown[key] = notApplied(fmt.Sprintf("%s cannot be shaped", b.VIF), fmt.Errorf("group %s is not known", b.Want.Group))
			continue
		}
		devices[index] = key
		d.state.VIFs[key] = VIF{index, b.Want}
	}
	d.mu.Lock()
	d.devices, d.missing = devices, len(d.unknown) > 0
	d.mu.Unlock()
	return nil
}

// resolveInPlace takes in what some vifs are to have now. It returns false, and
// has changed nothing, where a vif comes or goes, or is on another device.
func (d *Driver) resolveInPlace(keys map[string]bool) bool {
	if len(d.unknown) > 0 || len(d.state.VIFs) != len(d.want.VIFs) {
		return false
	}
	for key := range keys {
		b, wanted := d.want.VIFs[key]
		old, had := d.state.VIFs[key]
		index, there := d.links[b.VIF.Device]
		if _, known := d.state.ancestors(b.Want.Group); !wanted || !had || !there || !known || index != old.Ifindex {
			return false
		}
	}
	if !maps.Equal(d.state.Groups, d.want.Groups) {
		return false
	}
	d.state.Capacity = d.want.Capacity
	for key := range keys {
		old := d.state.VIFs[key]
		for _, basis := range d.basis {
			if _, noted := basis.was[key]; !noted {
				basis.was[key] = old
			}
		}
		d.state.VIFs[key] = VIF{old.Ifindex, d.want.VIFs[key].Want}
	}
	return true
}

// explain says in whose words a kernel's refusal is best told.
func (d *Driver) explain(v sluice.VIF, err error) error {
	var told *sluice.Error
	switch {
	case errors.As(err, &told):
		return err
	case errors.Is(err, unix.ENODEV) && v.Device != "":
		return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s vanished with its VM", v.Device), Err: err}
	case errors.Is(err, unix.EPERM):
		return &sluice.Error{Code: sluice.NotApplied, Message: "changing traffic control needs root", Try: "run the daemon as root", Err: err}
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return &sluice.Error{Code: sluice.Unsupported, Message: "this kernel lacks what shaping needs", Try: "sluice doctor", Err: err}
	case v.IsGroup():
		return notApplied(fmt.Sprintf("%s cannot be shaped", v), err)
	case v.Device != "":
		return notApplied(fmt.Sprintf("%s cannot be shaped", v.Device), err)
	}
	return notApplied("the link cannot be shaped", err)
}

func notApplied(message string, err error) error {
	return &sluice.Error{Code: sluice.NotApplied, Message: message, Err: err}
}
