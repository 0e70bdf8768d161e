package tc

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Queue is a qdisc that waits in a class.
type Queue interface {
	Kind() string
	// encode writes the options; some can be given only to one made anew.
	encode(enc *netlink.AttributeEncoder, anew bool)
}

// FIFOKind is a queue of so many bytes.
const FIFOKind = "bfifo"

// FIFO is a bfifo.
type FIFO struct{ Bytes uint32 }

// Kind is tc's name for it.
func (FIFO) Kind() string { return FIFOKind }

func (f FIFO) encode(enc *netlink.AttributeEncoder, _ bool) {
	enc.Bytes(unix.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, f.Bytes))
}

// FQCodelKind gives every flow a queue of its own, serves them by rounds,
// those with little first, and shortens those that stand by CoDel (RFC 8289,
// RFC 8290).
const FQCodelKind = "fq_codel"

// FQCodel is an fq_codel.
type FQCodel struct {
	Target   uint32 // µs that a packet may wait for long
	Interval uint32 // µs that are long
	Limit    uint32 // packets
	Memory   uint32 // bytes of the kernel's memory that may wait, which is more than the packets'
	Quantum  uint32 // bytes of a flow's round
	Flows    uint32
	ECN      uint32
}

// Kind is tc's name for it.
func (FQCodel) Kind() string { return FQCodelKind }

// The attributes of fq_codel's options, TCA_FQ_CODEL_*.
const (
	codelTarget = 1 + iota
	codelLimit
	codelInterval
	codelECN
	codelFlows
	codelQuantum
	_
	_
	codelMemory
)

func (q FQCodel) encode(enc *netlink.AttributeEncoder, anew bool) {
	enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
		o.Uint32(codelTarget, q.Target)
		o.Uint32(codelLimit, q.Limit)
		o.Uint32(codelInterval, q.Interval)
		o.Uint32(codelECN, q.ECN)
		if anew {
			o.Uint32(codelFlows, q.Flows)
		}
		o.Uint32(codelQuantum, q.Quantum)
		o.Uint32(codelMemory, q.Memory)
		return nil
	})
}

func (q *FQCodel) decode(o *netlink.AttributeDecoder) error {
	for o.Next() {
		switch o.Type() {
		case codelTarget:
			q.Target = o.Uint32()
		case codelLimit:
			q.Limit = o.Uint32()
		case codelInterval:
			q.Interval = o.Uint32()
		case codelECN:
			q.ECN = o.Uint32()
		case codelFlows:
			q.Flows = o.Uint32()
		case codelQuantum:
			q.Quantum = o.Uint32()
		case codelMemory:
			q.Memory = o.Uint32()
		}
	}
	return o.Err()
}

// AddQueue gives a class its first queue. It fails with EEXIST where another
// program did, and with ENOENT or EOPNOTSUPP where the kernel lacks the kind.
func (c *Conn) AddQueue(ifindex int, class, handle Handle, q Queue) error {
	return c.putQueue(ifindex, class, handle, q, netlink.Create, true)
}

// DeleteQueue removes a class's queue, whoever made it, and drops what waits in
// it. None there is no error.
func (c *Conn) DeleteQueue(ifindex int, class Handle) error {
	data, err := object(message{Ifindex: ifindex, Parent: uint32(class)}, nil)
	return present(c.write(fmt.Sprintf("removing the queue of class %s", class), unix.RTM_DELQDISC, 0, data, err))
}

// ChangeQueue changes a queue of the same kind; what waits in it stays.
func (c *Conn) ChangeQueue(ifindex int, class, handle Handle, q Queue) error {
	return c.putQueue(ifindex, class, handle, q, 0, false)
}

func (c *Conn) putQueue(ifindex int, class, handle Handle, q Queue, flags netlink.HeaderFlags, anew bool) error {
	data, err := object(message{Ifindex: ifindex, Handle: uint32(handle), Parent: uint32(class)}, func(enc *netlink.AttributeEncoder) {
		enc.String(unix.TCA_KIND, q.Kind())
		q.encode(enc, anew)
	})
	return c.write(fmt.Sprintf("setting the queue of class %s", class), unix.RTM_NEWQDISC, flags, data, err)
}
