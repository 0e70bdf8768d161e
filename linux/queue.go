package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

// queue is what waits in a leaf class: fq_codel where the kernel has it, else
// a FIFO of bytes. FIFOs of packets would hold as many GSO frames.
type queue interface {
	kind() string
	// encode writes the options; some can be given only to one made anew.
	encode(enc *netlink.AttributeEncoder, anew bool)
	// is says whether the kernel's is this.
	is(q qdisc) bool
	// gently is what can be set at once: to lower an fq_codel's limit below
	// what waits in it is to drop that.
	gently(q qdisc) queue
}

const fifoKind = "bfifo"

// fifo is a bfifo of so many bytes.
type fifo uint32

// newFIFO has about 15 ms of the rate, in byte/s, wait, at least two GSO
// frames, but at low rates, where TCP makes small ones, no more than a tenth
// of a second.
func newFIFO(rate uint64) fifo {
	const most = 32 << 20
	tenth := max(rate/10, 16*mtu)
	return fifo(min(max(rate*15/1000, min(2*(gsoFrame+mtu), tenth)), most))
}

func (fifo) kind() string { return fifoKind }

func (f fifo) encode(enc *netlink.AttributeEncoder, _ bool) {
	enc.Bytes(unix.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, uint32(f)))
}

func (f fifo) is(q qdisc) bool {
	return len(q.options) >= 4 && binary.NativeEndian.Uint32(q.options) == uint32(f)
}

func (f fifo) gently(qdisc) queue { return f } // it lets nothing in until there is room

// queueHandle is the leaf qdisc's own, made from the class so that it is the
// same at every start.
func queueHandle(class handle) handle { return handle(class.minor()) << 16 }

// putQueue gives a class the queue that its rate needs, at most the link's,
// where its turn may come so many ms late. One that is there keeps its kind,
// and what waits in it stays; another program's is left alone.
func (h *HTB) putQueue(t tree, c handle, a sluice.Allocation, late uint64) error {
	rate := min(bytesPerSecond(a.Limit), bytesPerSecond(h.capacity.Get(t.direction)))
	delete(h.loose, leafOf{t.direction, c.minor()})
	now, there, err := h.tc.qdisc(t.ifindex, queueHandle(c))
	if err != nil {
		return err
	}
	if !there {
		return h.makeQueue(t, c, newCodel(rate, late), newFIFO(rate))
	}
	var want queue
	switch now.kind {
	case fifoKind:
		want = newFIFO(rate)
	case codelKind:
		want = newCodel(rate, late)
	default:
		return nil
	}
	fits := want.gently(now)
	if fits != want {
		h.loose[leafOf{t.direction, c.minor()}] = true
	}
	if fits.is(now) {
		return nil
	}
	return h.tc.putQueue(t.ifindex, c, fits, false)
}

// makeQueue gives a class its first queue, of the kind that the kernel has.
func (h *HTB) makeQueue(t tree, c handle, better, plain queue) error {
	if !h.plain {
		err := h.tc.putQueue(t.ifindex, c, better, true)
		if errors.Is(err, unix.EEXIST) {
			return nil // another program's
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	// That answer may also be for a class that has gone: then this fails too.
	err := h.tc.putQueue(t.ifindex, c, plain, true)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	h.plain = h.plain || err == nil
	return err
}

// tighten resizes the queues that held too much when their rates fell.
func (h *HTB) tighten() error {
	for _, l := range slices.Collect(maps.Keys(h.loose)) {
		a, known := h.set[l.minor]
		if !known {
			delete(h.loose, l)
			continue
		}
		if err := h.putQueue(h.trees[l.direction], classHandle(l.minor), a.Get(l.direction), h.rhythm(l.direction).late); err != nil {
			return err
		}
	}
	return nil
}

// leafOf is a leaf class.
type leafOf struct {
	direction sluice.Direction
	minor     uint16
}

// putQueue makes a leaf's queue or changes it, and reads it back.
func (r *rtnl) putQueue(ifindex int, class handle, want queue, anew bool) error {
	flags := netlink.HeaderFlags(0)
	if anew {
		flags = netlink.Create
	}
	err := r.write(fmt.Sprintf("setting the queue of class %s", class), unix.RTM_NEWQDISC, flags,
		tcmsg{ifindex: ifindex, handle: uint32(queueHandle(class)), parent: uint32(class)}, func(enc *netlink.AttributeEncoder) {
			enc.String(unix.TCA_KIND, want.kind())
			want.encode(enc, anew)
		})
	if err != nil {
		return err
	}
	now, there, err := r.qdisc(ifindex, queueHandle(class))
	if err == nil && (!there || now.kind != want.kind() || !want.is(now)) {
		err = fmt.Errorf("the kernel says the queue of class %s is a %s of %+v, not of %+v", class, now.kind, now.codel, want)
	}
	return err
}
