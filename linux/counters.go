package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	vlink "github.com/vishvananda/netlink"

	"sluice"
)

// Counters reads what passed all devices, in one netlink dump for them and
// one for each tree. It is safe for concurrent use.
type Counters struct {
	htb *HTB

	mu     sync.Mutex
	names  map[int]string // of devices by index
	listed time.Time
	past   map[int]reading // the last, by device
}

// reading is what was last read of a device.
type reading struct {
	class  handle // that counted; 0 if the device itself did
	device sides
	total  sides // what was returned
	shift  sides // what is added to the present counter, so that totals go on when another takes over
}

// sides are the totals of both directions.
type sides struct{ tx, rx sluice.Counters }

func (a sides) plus(b sides) sides  { return sides{plus(a.tx, b.tx), plus(a.rx, b.rx)} }
func (a sides) minus(b sides) sides { return sides{minus(a.tx, b.tx), minus(a.rx, b.rx)} }

// Totals wrap, and so do their sums and differences.
func plus(a, b sluice.Counters) sluice.Counters {
	return sluice.Counters{Bytes: a.Bytes + b.Bytes, Packets: a.Packets + b.Packets, Dropped: a.Dropped + b.Dropped}
}

func minus(a, b sluice.Counters) sluice.Counters {
	return sluice.Counters{Bytes: a.Bytes - b.Bytes, Packets: a.Packets - b.Packets, Dropped: a.Dropped - b.Dropped}
}

// renames is how soon a device's new name is noticed.
const renames = 30 * time.Second

// NewCounters reads by the driver's connection, and takes a shaped vif's
// figures from its classes, which count what the limit counts.
func NewCounters(h *HTB) *Counters { return &Counters{htb: h} }

// deviceStats is the head of struct rtnl_link_stats64
// (include/uapi/linux/if_link.h), seen from the host.
type deviceStats struct{ rxPackets, txPackets, rxBytes, txBytes, rxDropped, txDropped uint64 }

// Read returns the totals of every device by its name.
func (c *Counters) Read(ctx context.Context) (map[string]sluice.HostCounters, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	devices, err := c.htb.tc.deviceStats()
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the devices' counters cannot be read", Err: err}
	}
	if err := c.name(devices); err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the devices cannot be listed", Err: err}
	}
	classes, trees, err := c.htb.classStats()
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the classes' counters cannot be read", Err: err}
	}
	c.htb.heed(ctx, time.Now(), trees)
	all := make(map[string]sluice.HostCounters, len(devices))
	past := make(map[int]reading, len(classes))
	for index, d := range devices {
		now := reading{device: sides{
			tx: sluice.Counters{Bytes: d.rxBytes, Packets: d.rxPackets, Dropped: d.rxDropped},
			rx: sluice.Counters{Bytes: d.txBytes, Packets: d.txPackets, Dropped: d.txDropped},
		}}
		n := sluice.HostCounters{Epoch: uint64(index), TxOffered: d.rxBytes}
		now.total = now.device
		if h, ok := classes[index]; ok {
			tx, rx := trees[0][h], trees[1][h]
			now.class = h
			now.total = sides{
				tx: sluice.Counters{Bytes: tx.bytes, Packets: tx.packets, Dropped: tx.dropped},
				rx: sluice.Counters{Bytes: rx.bytes, Packets: rx.packets, Dropped: rx.dropped},
			}
			n.TxBacklog, n.RxBacklog = tx.backlog, rx.backlog
		}
		if was, ok := c.past[index]; ok {
			now.shift = was.shift
			if was.class != now.class { // since then the device counted
				now.shift = was.total.plus(now.device.minus(was.device)).minus(now.total)
			}
		}
		now.total = now.total.plus(now.shift)
		n.Tx, n.Rx = now.total.tx, now.total.rx
		past[index], all[c.names[index]] = now, n
	}
	c.past = past
	return all, nil
}

// name learns the names of devices that it does not know yet.
func (c *Counters) name(devices map[int]deviceStats) error {
	known := time.Since(c.listed) < renames
	for index := range devices {
		_, ok := c.names[index]
		known = known && ok
	}
	if known {
		return nil
	}
	links, err := c.htb.links.LinkList()
	if err != nil && !errors.Is(err, vlink.ErrDumpInterrupted) {
		return err
	}
	c.names, c.listed = make(map[int]string, len(links)), time.Now()
	for _, l := range links {
		c.names[l.Attrs().Index] = l.Attrs().Name
	}
	for index := range devices {
		if _, ok := c.names[index]; !ok {
			delete(devices, index)
		}
	}
	return nil
}

// classStats are the shaped devices' classes, and both trees' counters.
func (h *HTB) classStats() (map[int]handle, [2]map[handle]stats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var trees [2]map[handle]stats
	shaped := make(map[int]handle, len(h.shaped))
	if h.trees == nil {
		return shaped, trees, nil
	}
	for index, c := range h.shaped {
		shaped[index] = c
	}
	for i, d := range sluice.Directions {
		trees[i] = make(map[handle]stats, len(shaped))
		if err := h.tc.classes(h.trees[d].ifindex, func(c class) { trees[i][c.handle] = c.stats }); err != nil {
			return nil, trees, err
		}
		if h.plain {
			continue // a FIFO drops at the door, where HTB counts it
		}
		if err := h.tc.qdiscs(h.trees[d].ifindex, func(q qdisc) {
			if s, ok := trees[i][q.parent]; ok {
				s.dropped = q.stats.dropped
				trees[i][q.parent] = s
			}
		}); err != nil {
			return nil, trees, err
		}
	}
	return shaped, trees, nil
}

// The message and attribute of RTM_GETSTATS (include/uapi/linux/if_link.h).
const (
	rtmGetStats   = 94
	sizeofStats   = 12
	statsLink64   = 1
	sizeofCounted = 8 * 8
)

// deviceStats are the counters of all devices, by index.
func (r *rtnl) deviceStats() (map[int]deviceStats, error) {
	ask := make([]byte, sizeofStats)
	binary.NativeEndian.PutUint32(ask[8:], 1<<(statsLink64-1))
	answers, err := r.conn.Execute(netlink.Message{Header: netlink.Header{Type: rtmGetStats, Flags: netlink.Request | netlink.Dump}, Data: ask})
	if err != nil {
		return nil, explain("dumping the devices' counters", err)
	}
	all := make(map[int]deviceStats, len(answers))
	for _, a := range answers {
		if len(a.Data) < sizeofStats {
			return nil, fmt.Errorf("counters of %d bytes", len(a.Data))
		}
		attrs, err := netlink.NewAttributeDecoder(a.Data[sizeofStats:])
		if err != nil {
			return nil, err
		}
		for attrs.Next() {
			b := attrs.Bytes()
			if attrs.Type() != statsLink64 || len(b) < sizeofCounted {
				continue
			}
			at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
			all[int(binary.NativeEndian.Uint32(a.Data[4:]))] = deviceStats{at(0), at(1), at(2), at(3), at(6), at(7)}
		}
	}
	return all, nil
}
