package linux

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// codelKind gives every flow of a VM a queue of its own, serves them by turns,
// those with little first, and shortens by CoDel (RFC 8289, RFC 8290) those
// that stand.
const codelKind = "fq_codel"

// codel is an fq_codel.
type codel struct {
	target   uint32 // µs that a packet may wait for long
	interval uint32 // µs that are long
	limit    uint32 // packets
	memory   uint32 // bytes of the kernel's memory that may wait, which is more than the packets'
	quantum  uint32 // bytes of a flow's turn
	flows    uint32
	ecn      uint32
}

// The attributes of fq_codel's options, from include/uapi/linux/pkt_sched.h.
const (
	tcaCodelTarget = 1 + iota
	tcaCodelLimit
	tcaCodelInterval
	tcaCodelECN
	tcaCodelFlows
	tcaCodelQuantum
	_
	_
	tcaCodelMemory
)

const (
	// A full frame takes 2,304 bytes of the kernel's memory, a GSO frame with
	// its pages about 70 KB.
	frameMemory = 2304
	gsoMemory   = 70 << 10
)

// newCodel is for a class of the rate, in byte/s, whose turn may come so many
// ms late.
func newCodel(rate, late uint64) codel {
	us := func(bytes uint64) uint64 { return bytes * 1e6 / rate }
	// 5 ms are RFC 8289's. It must be more than what passes between one packet
	// and the next: one frame and a half of the wire's, or of TCP's where that
	// is not long, or the wait while other classes send.
	target := max(5e3, us(mtu*3/2), min(us(gsoFrame*3/2), 15e3), late*1e3)
	// A flood that heeds no loss has 50 ms of memory, some 30 ms of frames; where
	// that is less than four of TCP's, those, up to 100 ms of frames.
	most := min(4*gsoMemory, max(rate*frameMemory/mtu/10, 16*frameMemory))
	return codel{
		target: uint32(target),
		// A round trip through the world, and what the target is more than RFC 8289's.
		interval: uint32(95e3 + target),
		limit:    10 << 10, // the kernel's own; the memory is less, but of the smallest packets of the fastest vifs
		memory:   uint32(min(max(rate/20, most), 32<<20)),
		quantum:  mtu,
		flows:    256, // 17 KB: there may be 2,000 of us; the kernel's own 1,024 would be 140 MB
		ecn:      1,
	}
}

func (codel) kind() string { return codelKind }

func (c codel) encode(enc *netlink.AttributeEncoder, anew bool) {
	enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
		o.Uint32(tcaCodelTarget, c.target)
		o.Uint32(tcaCodelLimit, c.limit)
		o.Uint32(tcaCodelInterval, c.interval)
		o.Uint32(tcaCodelECN, c.ecn)
		if anew {
			o.Uint32(tcaCodelFlows, c.flows)
		}
		o.Uint32(tcaCodelQuantum, c.quantum)
		o.Uint32(tcaCodelMemory, c.memory)
		return nil
	})
}

// decode reads the kernel's options.
func (c *codel) decode(o *netlink.AttributeDecoder) error {
	for o.Next() {
		switch o.Type() {
		case tcaCodelTarget:
			c.target = o.Uint32()
		case tcaCodelLimit:
			c.limit = o.Uint32()
		case tcaCodelInterval:
			c.interval = o.Uint32()
		case tcaCodelECN:
			c.ecn = o.Uint32()
		case tcaCodelFlows:
			c.flows = o.Uint32()
		case tcaCodelQuantum:
			c.quantum = o.Uint32()
		case tcaCodelMemory:
			c.memory = o.Uint32()
		}
	}
	return o.Err()
}

// is allows for the kernel's unit of time, 1,024 ns. The number of flows is
// that of whoever made it.
func (c codel) is(q qdisc) bool {
	now := q.codel
	near := func(is, want uint32) bool { return is <= want && want-is <= 2 }
	return near(now.target, c.target) && near(now.interval, c.interval) &&
		now.limit == c.limit && now.memory == c.memory && now.quantum == c.quantum && now.ecn == c.ecn
}

func (c codel) gently(q qdisc) queue {
	if q.memory > c.memory {
		c.memory = q.codel.memory
	}
	return c
}
