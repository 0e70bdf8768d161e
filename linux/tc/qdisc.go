package tc

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Qdisc is one as the kernel tells it.
type Qdisc struct {
	Ifindex        int
	Handle, Parent Handle
	Kind           string
	FIFO           FIFO    // of a bfifo
	FQCodel        FQCodel // of an fq_codel
	Stats          Stats
}

// The struct of HTB's own options, and iproute2's values for it.
const (
	sizeofHTBGlob   = 20 // struct tc_htb_glob
	htbVersion      = 3
	htbRate2Quantum = 10
)

// AddHTB makes a device's root qdisc an HTB.
func (c *Conn) AddHTB(ifindex int, handle Handle) error {
	data, err := object(message{Ifindex: ifindex, Handle: uint32(handle), Parent: uint32(Root)}, func(enc *netlink.AttributeEncoder) {
		enc.String(unix.TCA_KIND, "htb")
		enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
			b := make([]byte, sizeofHTBGlob)
			binary.NativeEndian.PutUint32(b, htbVersion)
			binary.NativeEndian.PutUint32(b[4:], htbRate2Quantum)
			o.Bytes(htbInit, b)
			return nil
		})
	})
	return c.write("making the HTB", unix.RTM_NEWQDISC, netlink.Create|netlink.Replace, data, err)
}

// DeleteRoot removes a device's root qdisc with everything below it, and drops
// what waits there. None there is no error.
func (c *Conn) DeleteRoot(ifindex int) error {
	data, err := object(message{Ifindex: ifindex, Parent: uint32(Root)}, nil)
	return present(c.write("removing the root qdisc", unix.RTM_DELQDISC, 0, data, err))
}

const clsactHandle Handle = 0xffff0000

// AddClsact makes the hooks for both directions. It fails with EEXIST where
// they, or an ingress qdisc, are there.
func (c *Conn) AddClsact(ifindex int) error {
	data, err := object(clsact(ifindex), func(enc *netlink.AttributeEncoder) { enc.String(unix.TCA_KIND, "clsact") })
	return c.write("making the clsact", unix.RTM_NEWQDISC, netlink.Create|netlink.Excl, data, err)
}

// DeleteClsact removes the hooks with every filter on them. None there is no error.
func (c *Conn) DeleteClsact(ifindex int) error {
	data, err := object(clsact(ifindex), nil)
	return present(c.write("removing the clsact", unix.RTM_DELQDISC, 0, data, err))
}

func clsact(ifindex int) message {
	return message{Ifindex: ifindex, Handle: uint32(clsactHandle), Parent: uint32(ClsactHooks)}
}

// Hooks reads the qdisc that stands where a clsact would: its kind is
// "clsact" or "ingress". ok is false if there is none.
func (c *Conn) Hooks(ifindex int) (q Qdisc, ok bool, err error) {
	return c.Qdisc(ifindex, clsactHandle)
}

// Qdisc reads one by its handle; ok is false if there is none. The kernel does
// not tell its parent then.
func (c *Conn) Qdisc(ifindex int, handle Handle) (q Qdisc, ok bool, err error) {
	// By its parent it cannot be asked for: of a parent without a qdisc the
	// kernel answers nothing at all.
	err = c.read(fmt.Sprintf("reading qdisc %s", handle), unix.RTM_GETQDISC, netlink.Echo,
		message{Ifindex: ifindex, Handle: uint32(handle)}, func(m message, a *netlink.AttributeDecoder) (err error) {
			q, err = decodeQdisc(m, a)
			ok = true
			return err
		})
	return q, ok, present(err)
}

// Qdiscs sends all of a device's to each; 0 is every device. A kernel before Linux 5.20 or so
// answers for every device whatever was asked, so this looks itself.
func (c *Conn) Qdiscs(ifindex int, each func(Qdisc)) error {
	return c.read("listing qdiscs", unix.RTM_GETQDISC, netlink.Dump, message{Ifindex: ifindex}, func(m message, a *netlink.AttributeDecoder) error {
		if ifindex != 0 && m.Ifindex != ifindex {
			return nil
		}
		q, err := decodeQdisc(m, a)
		each(q)
		return err
	})
}

func decodeQdisc(m message, a *netlink.AttributeDecoder) (Qdisc, error) {
	q := Qdisc{Ifindex: m.Ifindex, Handle: Handle(m.Handle), Parent: Handle(m.Parent)}
	for a.Next() {
		switch a.Type() {
		case unix.TCA_KIND:
			q.Kind = a.String()
		case unix.TCA_OPTIONS:
			switch q.Kind { // which comes first
			case FQCodelKind:
				a.Nested(q.FQCodel.decode)
			case FIFOKind:
				if b := a.Bytes(); len(b) >= 4 {
					q.FIFO.Bytes = binary.NativeEndian.Uint32(b)
				}
			}
		case unix.TCA_STATS2:
			a.Nested(q.Stats.decode(q.Kind))
		}
	}
	return q, a.Err()
}
