package linux

import (
	"encoding/binary"
	"errors"
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
	codel          codel // the options of an fq_codel
	stats          stats
	memory         uint32 // that an fq_codel holds at the moment, bytes
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
		q, err := decodeQdisc(m, a)
		each(q)
		return err
	})
}

// qdisc reads one by its handle; ok is false if there is none.
func (r *rtnl) qdisc(ifindex int, h handle) (q qdisc, ok bool, err error) {
	err = r.read(fmt.Sprintf("reading qdisc %s", h), unix.RTM_GETQDISC, netlink.Echo,
		tcmsg{ifindex: ifindex, handle: uint32(h)}, func(m tcmsg, a *netlink.AttributeDecoder) (err error) {
			q, err = decodeQdisc(m, a)
			ok = true
			return err
		})
	if errors.Is(err, unix.ENOENT) {
		return qdisc{}, false, nil
	}
	return q, ok, err
}

func decodeQdisc(m tcmsg, a *netlink.AttributeDecoder) (qdisc, error) {
	q := qdisc{handle: handle(m.handle), parent: handle(m.parent)}
	for a.Next() {
		switch a.Type() {
		case unix.TCA_KIND:
			q.kind = a.String()
		case unix.TCA_OPTIONS:
			if q.options = a.Bytes(); q.kind == codelKind { // the kind comes first
				a.Nested(q.codel.decode)
			}
		case unix.TCA_STATS2:
			a.Nested(q.stats.decode)
			if q.kind == codelKind {
				a.Nested(q.decodeMemory)
			}
		}
	}
	return q, a.Err()
}

// decodeMemory reads the eighth field of struct tc_fq_codel_xstats.
func (q *qdisc) decodeMemory(a *netlink.AttributeDecoder) error {
	for a.Next() {
		if b := a.Bytes(); a.Type() == tcaStatsApp && len(b) >= 36 {
			q.memory = binary.NativeEndian.Uint32(b[32:])
		}
	}
	return a.Err()
}
