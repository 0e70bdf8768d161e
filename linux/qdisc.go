package linux

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	clsactHandle = 0xffff0000
	clsactParent = 0xfffffff1
	rootParent   = 0xffffffff
)

// The attribute and struct of HTB's own options (include/uapi/linux/pkt_sched.h).
const (
	sizeofHTBGlob = 20
	htbVersion    = 3
	htbRate2Q     = 10
)

// qdisc is what the kernel says of one.
type qdisc struct {
	kind           string
	handle, parent handle
	options        []byte
}

// putTree makes the device's root qdisc an HTB of ours.
func (r *rtnl) putTree(ifindex int) error {
	return r.write("making the HTB", unix.RTM_NEWQDISC, netlink.Create|netlink.Excl,
		tcmsg{ifindex: ifindex, handle: major << 16, parent: rootParent}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, "htb")
			enc.Nested(unix.TCA_OPTIONS, func(o *netlink.AttributeEncoder) error {
				b := make([]byte, sizeofHTBGlob)
				binary.NativeEndian.PutUint32(b, htbVersion)
				binary.NativeEndian.PutUint32(b[4:], htbRate2Q)
				o.Bytes(tcaHTBInit, b)
				return nil
			})
		})
}

// putQueue gives a leaf class a queue of so many bytes, or changes it; what
// waits in it stays.
func (r *rtnl) putQueue(ifindex int, class handle, limit uint32) error {
	return r.write(fmt.Sprintf("setting the queue of class %s", class), unix.RTM_NEWQDISC, netlink.Create,
		tcmsg{ifindex: ifindex, handle: queueHandle(class), parent: uint32(class)}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, "bfifo")
			b := make([]byte, 4)
			binary.NativeEndian.PutUint32(b, limit)
			enc.Bytes(unix.TCA_OPTIONS, b)
		})
}

// queueHandle is the leaf qdisc's own, made from the class so that it is the
// same at every start.
func queueHandle(class handle) uint32 { return uint32(class.minor()) << 16 }

// queueLimit reads a leaf's queue; 0 if it is not of our making.
func (r *rtnl) queueLimit(ifindex int, class handle) (uint32, error) {
	limit := uint32(0)
	err := r.qdiscs(ifindex, func(q qdisc) {
		if q.parent == class && q.kind == "bfifo" && len(q.options) >= 4 {
			limit = binary.NativeEndian.Uint32(q.options)
		}
	})
	return limit, err
}

// putClsact makes the hooks for both directions.
func (r *rtnl) putClsact(ifindex int) error {
	return r.write("making the clsact", unix.RTM_NEWQDISC, netlink.Create|netlink.Excl,
		tcmsg{ifindex: ifindex, handle: clsactHandle, parent: clsactParent}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, "clsact")
		})
}

func (r *rtnl) deleteClsact(ifindex int) error {
	return r.write("removing the clsact", unix.RTM_DELQDISC, 0,
		tcmsg{ifindex: ifindex, handle: clsactHandle, parent: clsactParent}, nil)
}

// qdiscs sends all of a device's to each. Kernels before 5.20 or so answer
// for every device whatever was asked, so it looks itself.
func (r *rtnl) qdiscs(ifindex int, each func(qdisc)) error {
	return r.read("listing qdiscs", unix.RTM_GETQDISC, netlink.Dump, tcmsg{ifindex: ifindex}, func(m tcmsg, a *netlink.AttributeDecoder) error {
		if m.ifindex != ifindex {
			return nil
		}
		q := qdisc{handle: handle(m.handle), parent: handle(m.parent)}
		for a.Next() {
			switch a.Type() {
			case unix.TCA_KIND:
				q.kind = a.String()
			case unix.TCA_OPTIONS:
				q.options = a.Bytes()
			}
		}
		each(q)
		return a.Err()
	})
}
