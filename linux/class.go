package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// handle is a qdisc's or class's: major in the upper half, minor in the lower.
type handle uint32

const major = 0x51ce // of both HTBs

func classHandle(minor uint16) handle { return major<<16 | handle(minor) }

func (h handle) minor() uint16  { return uint16(h) }
func (h handle) String() string { return fmt.Sprintf("%x:%x", uint32(h)>>16, uint16(h)) }

// params are what the kernel is told about one HTB class. Rates are byte/s,
// bursts are bytes.
type params struct {
	rate, ceil    uint64
	burst, cburst uint64
	quantum       uint32
	prio          uint32
}

// The attributes and the struct of HTB, from include/uapi/linux/pkt_sched.h.
const (
	tcaHTBParms  = 1
	tcaHTBInit   = 2
	tcaHTBRate64 = 6
	tcaHTBCeil64 = 7

	sizeofRatespec = 12
	sizeofHTBOpt   = 2*sizeofRatespec + 20
	linkEthernet   = 1 // no rate table is needed then

	nsPerTick = 64 // PSCHED_SHIFT is 6 since Linux 2.6.31
)

// ticks is how long the bytes take at the rate, in the kernel's unit.
func ticks(bytes, rate uint64) uint32 {
	t := float64(bytes) * 1e9 / float64(rate) / nsPerTick
	return uint32(min(max(math.Ceil(t), 1), math.MaxUint32))
}

func (p params) encode(enc *netlink.AttributeEncoder) {
	enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
		b := make([]byte, sizeofHTBOpt)
		putRate := func(b []byte, rate uint64) {
			b[1] = linkEthernet
			binary.NativeEndian.PutUint32(b[8:], uint32(min(rate, math.MaxUint32)))
		}
		putRate(b, p.rate)
		putRate(b[sizeofRatespec:], p.ceil)
		binary.NativeEndian.PutUint32(b[24:], ticks(p.burst, p.rate))
		binary.NativeEndian.PutUint32(b[28:], ticks(p.cburst, p.ceil))
		binary.NativeEndian.PutUint32(b[32:], p.quantum)
		binary.NativeEndian.PutUint32(b[40:], p.prio)
		o.Bytes(tcaHTBParms, b)
		// Without these, 34.36 Gbit/s and more would wrap.
		o.Uint64(tcaHTBRate64, p.rate)
		o.Uint64(tcaHTBCeil64, p.ceil)
		return nil
	})
}

// class is an HTB class as the kernel tells it.
type class struct {
	handle, parent handle
	rate, ceil     uint64
	buffer         uint32 // ticks
	cbuffer        uint32 // ticks
	quantum, prio  uint32
	leaf           bool // leaf classes alone have a quantum and a queue
	stats          stats
}

// stats are a class's counters.
type stats struct {
	bytes, packets, dropped uint64
	backlog                 uint64 // bytes
	tokens                  int32  // of an HTB class: below 0, the ticks until it may again send by its own rate
}

// is says whether the class does what p says. The quantum and priority of an
// inner class have no meaning and are not kept by the kernel.
func (c class) is(p params) bool {
	same := c.rate == p.rate && c.ceil == p.ceil && c.buffer == ticks(p.burst, p.rate) && c.cbuffer == ticks(p.cburst, p.ceil)
	return same && (!c.leaf || c.quantum == p.quantum && c.prio == p.prio)
}

// owes says whether the class has sent so much beyond a small rate of its own
// that a greater would not be in force for a while: HTB keeps the debt, up to a
// minute of it, over a change. One frame of 64 KB is that minute where there
// was no guarantee.
func (c class) owes(p params) bool {
	const while = 100e6 / nsPerTick
	return p.rate > c.rate && c.stats.tokens < -while
}

// putClass makes or changes a class. A change keeps what is queued.
func (r *rtnl) putClass(ifindex int, h, parent handle, p params) error {
	return r.write(fmt.Sprintf("setting class %s", h), unix.RTM_NEWTCLASS, netlink.Create,
		tcmsg{ifindex: ifindex, handle: uint32(h), parent: uint32(parent)}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, "htb")
			p.encode(enc)
		})
}

func (r *rtnl) deleteClass(ifindex int, h handle) error {
	err := r.write(fmt.Sprintf("removing class %s", h), unix.RTM_DELTCLASS, 0, tcmsg{ifindex: ifindex, handle: uint32(h)}, nil)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// class reads one class; ok is false if there is none.
func (r *rtnl) class(ifindex int, h handle) (c class, ok bool, err error) {
	// Without the echo flag the kernel tells everybody but who asked.
	err = r.read(fmt.Sprintf("reading class %s", h), unix.RTM_GETTCLASS, netlink.Echo,
		tcmsg{ifindex: ifindex, handle: uint32(h)}, func(m tcmsg, a *netlink.AttributeDecoder) error {
			c, ok = decodeClass(m, a)
			return a.Err()
		})
	if errors.Is(err, unix.ENOENT) {
		return class{}, false, nil
	}
	return c, ok, err
}

// classes sends every class of a device to each, in one dump.
func (r *rtnl) classes(ifindex int, each func(class)) error {
	return r.read("listing classes", unix.RTM_GETTCLASS, netlink.Dump,
		tcmsg{ifindex: ifindex}, func(m tcmsg, a *netlink.AttributeDecoder) error {
			if c, ok := decodeClass(m, a); ok {
				each(c)
			}
			return a.Err()
		})
}

// decodeClass reads an HTB class; ok is false for any other kind.
func decodeClass(m tcmsg, a *netlink.AttributeDecoder) (c class, ok bool) {
	c.handle, c.parent = handle(m.handle), handle(m.parent)
	c.leaf = m.info != 0 // htb_dump_class sets it to the leaf's qdisc
	for a.Next() {
		switch a.Type() {
		case unix.TCA_KIND:
			ok = a.String() == "htb"
		case unix.TCA_OPTIONS:
			a.Nested(c.decodeOptions)
		case unix.TCA_STATS2:
			a.Nested(c.stats.decode)
		}
	}
	return c, ok
}

func (c *class) decodeOptions(a *netlink.AttributeDecoder) error {
	for a.Next() {
		switch a.Type() {
		case tcaHTBParms:
			b := a.Bytes()
			if len(b) < sizeofHTBOpt {
				return fmt.Errorf("HTB parameters of %d bytes", len(b))
			}
			// The 64-bit attributes are sent only where these do not suffice.
			c.rate = max(c.rate, uint64(binary.NativeEndian.Uint32(b[8:])))
			c.ceil = max(c.ceil, uint64(binary.NativeEndian.Uint32(b[20:])))
			c.buffer = binary.NativeEndian.Uint32(b[24:])
			c.cbuffer = binary.NativeEndian.Uint32(b[28:])
			c.quantum = binary.NativeEndian.Uint32(b[32:])
			c.prio = binary.NativeEndian.Uint32(b[40:])
		case tcaHTBRate64:
			c.rate = a.Uint64()
		case tcaHTBCeil64:
			c.ceil = a.Uint64()
		}
	}
	return a.Err()
}

// The attributes inside TCA_STATS2, from include/uapi/linux/gen_stats.h.
const (
	tcaStatsBasic = 1
	tcaStatsQueue = 3
	tcaStatsApp   = 4
	tcaStatsPkt64 = 8

	sizeofHTBStats = 20 // struct tc_htb_xstats
)

func (s *stats) decode(a *netlink.AttributeDecoder) error {
	for a.Next() {
		b := a.Bytes()
		switch {
		case a.Type() == tcaStatsBasic && len(b) >= 12:
			s.bytes = binary.NativeEndian.Uint64(b)
			s.packets = max(s.packets, uint64(binary.NativeEndian.Uint32(b[8:])))
		case a.Type() == tcaStatsPkt64 && len(b) >= 8:
			s.packets = binary.NativeEndian.Uint64(b)
		case a.Type() == tcaStatsQueue && len(b) >= 12:
			s.backlog = uint64(binary.NativeEndian.Uint32(b[4:]))
			s.dropped = uint64(binary.NativeEndian.Uint32(b[8:]))
		case a.Type() == tcaStatsApp && len(b) == sizeofHTBStats:
			s.tokens = int32(binary.NativeEndian.Uint32(b[12:]))
		}
	}
	return a.Err()
}

// params are what a class was told, for telling it so again.
func (c class) params() params {
	bytes := func(ticks uint32, rate uint64) uint64 {
		return uint64(float64(ticks) * nsPerTick * float64(rate) / 1e9)
	}
	return params{rate: c.rate, ceil: c.ceil, burst: bytes(c.buffer, c.rate), cburst: bytes(c.cbuffer, c.ceil),
		quantum: c.quantum, prio: c.prio}
}
