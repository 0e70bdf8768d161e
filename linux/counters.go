package linux

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice"
	"sluice/linux/htb"
	"sluice/linux/tc"
)

// Classes are the counters of a driver's classes.
type Classes interface{ Count() (htb.Counts, error) }

// Counters reads what passed all devices, in one netlink dump for them and
// one for each tree. It changes nothing, and is safe for concurrent use.
type Counters struct {
	classes Classes
	conn    *tc.Conn
	events  *tc.Events
	renamed atomic.Bool // a device came, went or was changed since names were listed

	mu     sync.Mutex
	names  map[int]string // of devices by index
	ends   map[int]bool   // devices that are the VM's own end: what it sends goes out of them
	listed time.Time
	past   map[int]reading // the last, by device
}

// reading is what was last read of what came into a device.
type reading struct {
	class  uint16 // that counted what came in; 0 if the device itself did
	device sluice.Counters
	total  sluice.Counters // what was returned
	shift  sluice.Counters // what is added to the present counter, so that totals go on when another takes over
}

// Totals wrap, and so do their sums and differences.
func plus(a, b sluice.Counters) sluice.Counters {
	return sluice.Counters{Bytes: a.Bytes + b.Bytes, Packets: a.Packets + b.Packets, Dropped: a.Dropped + b.Dropped}
}

func minus(a, b sluice.Counters) sluice.Counters {
	return sluice.Counters{Bytes: a.Bytes - b.Bytes, Packets: a.Packets - b.Packets, Dropped: a.Dropped - b.Dropped}
}

// renames is how soon a device's new name is noticed, should its announcement be lost.
const renames = 30 * time.Second

// NewCounters reads in the network namespace of the calling thread. What a
// shaped vif sent it takes from the driver's classes, which count what the
// limit counts; what a vif received the device itself knows, after whatever
// was dropped on the way. The error is [sluice.Unavailable] without netlink.
func NewCounters(classes Classes) (*Counters, error) {
	conn, err := tc.Dial()
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's counters cannot be reached", Err: err}
	}
	events, err := tc.Subscribe()
	if err != nil {
		conn.Close()
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's network devices cannot be reached", Err: err}
	}
	c := &Counters{classes: classes, conn: conn, events: events}
	go c.listen()
	return c, nil
}

// listen notes that names may have changed. Until they are listed again, what
// one VM uses would be another's where two devices swapped names.
func (c *Counters) listen() {
	for {
		got, err := c.events.Receive()
		if err != nil {
			return // closed
		}
		if slices.ContainsFunc(got, func(e tc.Event) bool { return e.Link || e.Ifindex == 0 }) {
			c.renamed.Store(true)
		}
	}
}

// Close gives up the connection to the kernel.
func (c *Counters) Close() {
	c.conn.Close()
	c.events.Close()
}

// Read returns the totals of every device by its name.
func (c *Counters) Read(context.Context) (map[string]sluice.HostCounters, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	devices, err := c.conn.AllDeviceStats()
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the devices' counters cannot be read", Err: err}
	}
	if err := c.name(devices); err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the devices cannot be listed", Err: err}
	}
	counts, err := c.classes.Count()
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the classes' counters cannot be read", Err: err}
	}
	all := make(map[string]sluice.HostCounters, len(devices))
	past := make(map[int]reading, len(devices))
	for index, d := range devices {
		in, out := sluice.Tx, sluice.Rx // what comes into the device is what the VM sends
		if c.ends[index] {
			in, out = out, in
		}
		leaves := sluice.Counters{Bytes: d.TxBytes, Packets: d.TxPackets, Dropped: d.TxDropped}
		var backlog [2]uint64 // of what comes in, and of what goes out
		if minor, shaped := counts.Shaped[out][index]; shaped {
			s := counts.Trees[out][minor]
			leaves.Dropped += s.Dropped
			backlog[1] = s.Backlog
		}
		now := reading{device: sluice.Counters{Bytes: d.RxBytes, Packets: d.RxPackets, Dropped: d.RxDropped}}
		now.total = now.device
		if minor, shaped := counts.Shaped[in][index]; shaped {
			s := counts.Trees[in][minor]
			now.class = minor
			now.total = plus(sluice.Counters{Bytes: s.Bytes, Packets: s.Packets, Dropped: s.Dropped}, counts.Past[in][index])
			backlog[0] = s.Backlog
		}
		if was, ok := c.past[index]; ok {
			now.shift = was.shift
			if was.class != now.class { // since then the device counted
				now.shift = minus(plus(was.total, minus(now.device, was.device)), now.total)
			}
		}
		now.total = plus(now.total, now.shift)
		n := sluice.HostCounters{Epoch: uint64(index), Tx: now.total, TxOffered: d.RxBytes, TxBacklog: backlog[0], Rx: leaves, RxBacklog: backlog[1]}
		if c.ends[index] {
			n = sluice.HostCounters{Epoch: uint64(index), Tx: leaves, TxBacklog: backlog[1], Rx: now.total, RxOffered: d.RxBytes, RxBacklog: backlog[0]}
		}
		past[index], all[c.names[index]] = now, n
	}
	c.past = past
	return all, nil
}

// name learns the names of devices that it does not know yet.
func (c *Counters) name(devices map[int]tc.DeviceStats) error {
	known := !c.renamed.Swap(false) && time.Since(c.listed) < renames
	for index := range devices {
		_, ok := c.names[index]
		known = known && ok
	}
	if known {
		return nil
	}
	links, err := c.conn.Links()
	if err != nil {
		c.renamed.Store(true)
		return err
	}
	c.names, c.ends, c.listed = make(map[int]string, len(links)), make(map[int]bool), time.Now()
	for _, l := range links {
		c.names[l.Index] = l.Name
		if l.Kind == "macvtap" {
			c.ends[l.Index] = true
		}
	}
	for index := range devices {
		if _, ok := c.names[index]; !ok {
			delete(devices, index)
		}
	}
	return nil
}
