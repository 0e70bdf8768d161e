package tc

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Overhead is what a rate counts for every frame beyond the frame's length in
// the kernel, in bytes, and the least that a frame counts with it. HTB adds it
// once to a GSO frame, not once a segment (include/net/sch_generic.h,
// psched_l2t_ns).
type Overhead struct{ Bytes, Least uint16 }

// HTB is what the kernel is told about one HTB class. Rates are byte/s, bursts
// and the quantum are bytes.
type HTB struct {
	Rate, Ceil                 uint64
	Burst, Cburst              uint64
	Quantum                    uint32
	Prio                       uint32
	RateOverhead, CeilOverhead Overhead
}

// Class is an HTB class as the kernel tells it.
type Class struct {
	Handle, Parent Handle
	Rate, Ceil     uint64 // byte/s
	Buffer         uint32 // the burst, in ticks of 64 ns at Rate
	Cbuffer        uint32 // the cburst, in ticks at Ceil
	Quantum, Prio  uint32
	RateOverhead   Overhead
	CeilOverhead   Overhead
	Queue          Handle // of the qdisc that waits in a leaf class; 0 of an inner class, or before it was given one
	Stats          Stats
}

// The attributes and structs of HTB.
const (
	htbParms  = 1 // TCA_HTB_PARMS
	htbInit   = 2 // TCA_HTB_INIT
	htbRate64 = 6 // TCA_HTB_RATE64
	htbCeil64 = 7 // TCA_HTB_CEIL64

	sizeofRatespec = 12
	sizeofHTBOpt   = 2*sizeofRatespec + 20
	linkEthernet   = 1 // TC_LINKLAYER_ETHERNET: no rate table is needed then

	nsPerTick = 64 // PSCHED_SHIFT is 6 since Linux 2.6.31
)

// Ticks is how long the bytes take at the rate, in the kernel's unit of 64 ns.
func Ticks(bytes, rate uint64) uint32 {
	t := float64(bytes) * 1e9 / float64(rate) / nsPerTick
	return uint32(min(max(math.Ceil(t), 1), math.MaxUint32))
}

// Leaf says whether something can wait in the class: only a leaf has a quantum,
// a priority and a queue.
func (c Class) Leaf() bool { return c.Queue != 0 }

// Is says whether the class does what h says. The quantum and priority of an
// inner class have no meaning, and the kernel does not keep them.
func (c Class) Is(h HTB) bool {
	return c.Rate == h.Rate && c.Ceil == h.Ceil && c.Buffer == Ticks(h.Burst, h.Rate) && c.Cbuffer == Ticks(h.Cburst, h.Ceil) &&
		c.RateOverhead == h.RateOverhead && c.CeilOverhead == h.CeilOverhead &&
		(!c.Leaf() || c.Quantum == h.Quantum && c.Prio == h.Prio)
}

func encodeHTB(enc *netlink.AttributeEncoder, h HTB) {
	enc.String(unix.TCA_KIND, "htb")
	enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
		b := make([]byte, sizeofHTBOpt)
		rate := func(b []byte, rate uint64, over Overhead) {
			b[1] = linkEthernet
			binary.NativeEndian.PutUint16(b[2:], over.Bytes)
			binary.NativeEndian.PutUint16(b[6:], over.Least)
			binary.NativeEndian.PutUint32(b[8:], uint32(min(rate, math.MaxUint32)))
		}
		rate(b, h.Rate, h.RateOverhead)
		rate(b[sizeofRatespec:], h.Ceil, h.CeilOverhead)
		binary.NativeEndian.PutUint32(b[24:], Ticks(h.Burst, h.Rate))
		binary.NativeEndian.PutUint32(b[28:], Ticks(h.Cburst, h.Ceil))
		binary.NativeEndian.PutUint32(b[32:], h.Quantum)
		binary.NativeEndian.PutUint32(b[40:], h.Prio)
		o.Bytes(htbParms, b)
		// Without these, 34.36 Gbit/s and more would wrap.
		o.Uint64(htbRate64, h.Rate)
		o.Uint64(htbCeil64, h.Ceil)
		return nil
	})
}

// PutClass makes an HTB class, or changes the one that is there, which keeps
// what waits in it. HTB cannot change a class's parent.
func (c *Conn) PutClass(ifindex int, class, parent Handle, h HTB) error {
	data, err := object(message{Ifindex: ifindex, Handle: uint32(class), Parent: uint32(parent)},
		func(enc *netlink.AttributeEncoder) { encodeHTB(enc, h) })
	return c.write(fmt.Sprintf("setting class %s", class), unix.RTM_NEWTCLASS, netlink.Create, data, err)
}

// DeleteClass removes a class, and drops what waits in it. None there is no error.
func (c *Conn) DeleteClass(ifindex int, class Handle) error {
	data, err := object(message{Ifindex: ifindex, Handle: uint32(class)}, nil)
	return present(c.write(fmt.Sprintf("removing class %s", class), unix.RTM_DELTCLASS, 0, data, err))
}

// Class reads one class; ok is false if there is none.
func (c *Conn) Class(ifindex int, class Handle) (got Class, ok bool, err error) {
	// Without the echo flag the kernel tells everybody but the one that asked.
	err = c.read(fmt.Sprintf("reading class %s", class), unix.RTM_GETTCLASS, netlink.Echo,
		message{Ifindex: ifindex, Handle: uint32(class)}, func(m message, a *netlink.AttributeDecoder) (err error) {
			got, ok, err = decodeClass(m, a)
			return err
		})
	return got, ok, present(err)
}

// Classes sends every HTB class of a device to each, in one dump.
func (c *Conn) Classes(ifindex int, each func(Class)) error {
	return c.read("listing classes", unix.RTM_GETTCLASS, netlink.Dump, message{Ifindex: ifindex},
		func(m message, a *netlink.AttributeDecoder) error {
			got, ok, err := decodeClass(m, a)
			if ok {
				each(got)
			}
			return err
		})
}

// decodeClass reads an HTB class; ok is false for any other kind.
func decodeClass(m message, a *netlink.AttributeDecoder) (c Class, ok bool, err error) {
	c.Handle, c.Parent = Handle(m.Handle), Handle(m.Parent)
	c.Queue = Handle(m.Info) // by htb_dump_class
	for a.Next() {
		switch a.Type() {
		case unix.TCA_KIND:
			ok = a.String() == "htb"
		case unix.TCA_OPTIONS:
			if ok { // the kind comes first
				a.Nested(c.decodeOptions)
			}
		case unix.TCA_STATS2:
			a.Nested(c.Stats.decode("htb"))
		}
	}
	return c, ok, a.Err()
}

func (c *Class) decodeOptions(a *netlink.AttributeDecoder) error {
	for a.Next() {
		switch a.Type() {
		case htbParms:
			b := a.Bytes()
			if len(b) < sizeofHTBOpt {
				return fmt.Errorf("HTB parameters of %d bytes", len(b))
			}
			over := func(b []byte) Overhead {
				return Overhead{Bytes: binary.NativeEndian.Uint16(b[2:]), Least: binary.NativeEndian.Uint16(b[6:])}
			}
			c.RateOverhead, c.CeilOverhead = over(b), over(b[sizeofRatespec:])
			// The 64-bit attributes are sent only where these do not suffice.
			c.Rate = max(c.Rate, uint64(binary.NativeEndian.Uint32(b[8:])))
			c.Ceil = max(c.Ceil, uint64(binary.NativeEndian.Uint32(b[20:])))
			c.Buffer = binary.NativeEndian.Uint32(b[24:])
			c.Cbuffer = binary.NativeEndian.Uint32(b[28:])
			c.Quantum = binary.NativeEndian.Uint32(b[32:])
			c.Prio = binary.NativeEndian.Uint32(b[40:])
		case htbRate64:
			c.Rate = a.Uint64()
		case htbCeil64:
			c.Ceil = a.Uint64()
		}
	}
	return a.Err()
}

// present takes an answer that nothing is there for no error.
func present(err error) error {
	if Absent(err) {
		return nil
	}
	return err
}
