package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

// minorStep keeps the lowest four bits of every leaf's handle zero: they stay
// in skb->priority after the tree, and pfifo_fast takes its band from them.
const minorStep = 16

// HTB is the driver for any tap or veth; see the package comment. It is safe
// for concurrent use, and belongs to the network namespace it was made in.
type HTB struct {
	log   *slog.Logger
	tc    *rtnl
	links *netlink.Handle

	mu       sync.Mutex // one change of the trees at a time
	capacity sluice.Capacity
	trees    map[sluice.Direction]tree     // nil until the first vif is shaped
	used     map[uint16]bool               // minors of leaves
	shaped   map[int]handle                // class by the device's index
	set      map[uint16]sluice.Allocations // what each class enforces, by its minor
	tuned    map[sluice.Direction]rhythm   // what is in force
	groups   map[string]*group             // by name
	learnt   map[sluice.Direction]attention
	plain    bool            // the kernel has no fq_codel
	loose    map[leafOf]bool // whose queues are to be smaller once less waits in them
}

// NewHTB makes a driver. It changes nothing in the kernel before it is asked
// to shape. The error is [sluice.Unavailable] without netlink.
func NewHTB(log *slog.Logger) (*HTB, error) {
	tc, err := dialRtnl()
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's traffic control cannot be reached", Err: err}
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		tc.close()
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the kernel's network devices cannot be reached", Err: err}
	}
	return &HTB{log: log, tc: tc, links: links, shaped: make(map[int]handle), set: make(map[uint16]sluice.Allocations),
		tuned: make(map[sluice.Direction]rhythm), groups: make(map[string]*group), learnt: make(map[sluice.Direction]attention),
		loose: make(map[leafOf]bool), capacity: sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited}}, nil
}

// Close gives up the connections to the kernel. The kernel goes on shaping.
func (h *HTB) Close() {
	h.tc.close()
	h.links.Close()
}

// SetCapacity says what the link carries. It is in force at once where
// anything is shaped, else with the first vif.
func (h *HTB) SetCapacity(ctx context.Context, c sluice.Capacity) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.capacity
	h.capacity = c
	if h.trees == nil {
		return nil
	}
	if err := h.putTrunks(); err != nil {
		h.capacity = old
		return notApplied("the capacity of the link cannot be set", err)
	}
	return nil
}

// up finds or makes the trees, and learns which classes are in use. h.mu is held.
func (h *HTB) up(ctx context.Context) error {
	if h.trees != nil {
		return nil
	}
	trees, used := make(map[sluice.Direction]tree), make(map[uint16]bool)
	for _, d := range sluice.Directions {
		t, err := h.plant(ctx, d)
		if err != nil {
			return err
		}
		trees[d] = t
		err = h.tc.classes(t.ifindex, func(c class) {
			if c.handle.minor()%minorStep == 0 {
				used[c.handle.minor()] = true
			}
		})
		if err != nil {
			return err
		}
	}
	h.trees, h.used = trees, used
	if err := h.putTrunks(); err != nil {
		h.trees = nil
		return err
	}
	return nil
}

// putTrunks has both trees share the capacity, and the queues fit it.
func (h *HTB) putTrunks() error {
	for d, t := range h.trees {
		if err := h.put(t, trunkClass, major<<16, trunk(h.capacity.Get(d))); err != nil {
			return err
		}
		late := h.rhythm(d).late
		for minor, a := range h.set {
			if err := h.putQueue(t, classHandle(minor), a.Get(d), late); err != nil {
				return err
			}
		}
	}
	return h.tune()
}

// put makes a class what it should be, if it is not, and reads it back.
func (h *HTB) put(t tree, c, parent handle, want params) error {
	now, there, err := h.tc.class(t.ifindex, c)
	if err != nil || there && now.is(want) {
		return err
	}
	if err := h.tc.putClass(t.ifindex, c, parent, want); err != nil {
		return err
	}
	now, there, err = h.tc.class(t.ifindex, c)
	if err == nil && (!there || !now.is(want)) {
		err = fmt.Errorf("the kernel says class %s has %d byte/s, not %d", c, now.ceil, want.ceil)
	}
	return err
}

// Apply has the kernel enforce want on the vif's device, and reads it back.
// It fulfils the contract of package control's Driver.
func (h *HTB) Apply(ctx context.Context, v sluice.VIF, want sluice.Allocations) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name, ok := sluice.GroupOf(v.Key()); ok {
		return h.applyGroup(ctx, name, want)
	}
	index, err := h.find(v)
	if err != nil {
		return err
	}
	on, err := h.attached(index)
	if err != nil {
		return notApplied(fmt.Sprintf("the filters of %s cannot be read", v.Device), err)
	}
	if on.foreignIngress {
		return &sluice.Error{Code: sluice.Unsupported,
			Message:   fmt.Sprintf("%s has an ingress qdisc of another program, which leaves no room for a clsact", v.Device),
			Unchanged: "it was left as it is", Try: "tc qdisc del dev " + v.Device + " ingress, if nobody needs it"}
	}
	if on.class == 0 && want == sluice.UnshapedBoth && h.capacity.Tx == sluice.Unlimited && h.capacity.Rx == sluice.Unlimited {
		return nil
	}
	if err := h.up(ctx); err != nil {
		return h.failed(v, err)
	}
	if err := h.shape(ctx, index, on, want); err != nil {
		return h.failed(v, err)
	}
	return nil
}

// shape brings both directions of a device in order, or puts back what was.
func (h *HTB) shape(ctx context.Context, index int, on attachment, want sluice.Allocations) (err error) {
	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	if err := h.grow(want.Group, on.class); err != nil {
		return err
	}
	parent, c := h.branch(want.Group), on.class
	stays, err := h.keeps(c, parent, want)
	if err != nil {
		return err
	}
	if !stays {
		// HTB moves no class: the vif gets another, and leaves its own when
		// its filters lead to the new one.
		minor, err := h.free()
		if err != nil {
			return err
		}
		c = classHandle(minor)
		h.used[minor] = true
		undo = append(undo, func() error { delete(h.used, minor); return nil })
	}
	minor, left := c.minor(), on.class
	before, known := h.set[minor]
	was, moved := h.set[left.minor()]
	moved = moved && left != c
	undo = append(undo, func() error {
		if h.set[minor] = before; !known {
			delete(h.set, minor)
		}
		if moved {
			h.set[left.minor()] = was
		}
		return h.tune()
	})
	if moved {
		delete(h.set, left.minor())
		h.inherit(minor, left.minor())
	}
	h.set[minor] = want
	for _, d := range sluice.Directions {
		t, r := h.trees[d], h.rhythm(d)
		p := h.leaf(d, minor, want, r)
		old, there, err := h.tc.class(t.ifindex, c)
		if err != nil {
			return err
		}
		undo = append(undo, func() error {
			if !there {
				return h.tc.deleteClass(t.ifindex, c)
			}
			return h.tc.putClass(t.ifindex, c, parent, old.params())
		})
		if err := h.put(t, c, parent, p); err != nil {
			return err
		}
		if !there || !known || old.ceil != p.ceil {
			undo = append(undo, func() error {
				if !there || !known {
					return nil
				}
				return h.putQueue(t, c, before.Get(d), h.rhythm(d).late)
			})
			if err := h.putQueue(t, c, want.Get(d), r.late); err != nil {
				return err
			}
		}
	}
	made := on.made
	if !on.clsact {
		if err := h.tc.putClsact(index); err != nil {
			return err
		}
		made = true
		undo = append(undo, func() error { return h.tc.deleteClsact(index) })
	}
	for _, d := range sluice.Directions {
		if on.has[d] && left == c {
			continue
		}
		if err := h.tc.putFilter(index, d, c, h.trees[d].ifindex, made); err != nil {
			return err
		}
		undo = append(undo, func() error {
			if on.has[d] {
				return h.tc.putFilter(index, d, left, h.trees[d].ifindex, made)
			}
			return h.tc.deleteFilter(index, d)
		})
	}
	if err := h.tune(); err != nil {
		return err
	}
	h.shaped[index] = c
	if left != 0 && left != c {
		if err := h.sweep(ctx); err != nil {
			h.log.Warn("a class that is not used any more stays until the next is removed", "class", left.String(), "error", err)
		}
	}
	return nil
}

// Release takes everything of ours off the vif's device. What waits in its
// classes is sent first.
func (h *HTB) Release(ctx context.Context, v sluice.VIF) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	index, err := h.find(v)
	if sluice.CodeOf(err) == sluice.NotFound {
		return h.sweep(ctx) // the filters went with the device, the classes did not
	}
	if err != nil {
		return err
	}
	if err := h.detach(index); err != nil {
		return notApplied(fmt.Sprintf("%s cannot be released", v.Device), err)
	}
	return h.sweep(ctx)
}

// free is a minor that no class has.
func (h *HTB) free() (uint16, error) {
	for m := minorStep; m <= 0xfff0; m += minorStep {
		if !h.used[uint16(m)] {
			return uint16(m), nil
		}
	}
	return 0, errors.New("all 4,095 classes are in use")
}

// find is the index of the vif's device, NotFound if it has gone.
func (h *HTB) find(v sluice.VIF) (int, error) {
	link, err := h.links.LinkByName(v.Device)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return 0, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no device %s any more", v, v.Device)}
	}
	if err != nil {
		return 0, notApplied(fmt.Sprintf("device %s cannot be looked up", v.Device), err)
	}
	return link.Attrs().Index, nil
}

// failed says in whose words a kernel's refusal is best told.
func (h *HTB) failed(v sluice.VIF, err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s vanished with its VM", v.Device), Err: err}
	case errors.Is(err, unix.EPERM):
		return &sluice.Error{Code: sluice.NotApplied, Message: "changing traffic control needs root", Try: "run the daemon as root", Err: err}
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return &sluice.Error{Code: sluice.Unsupported, Message: "this kernel lacks what shaping needs", Try: "sluice doctor", Err: err}
	}
	return notApplied(fmt.Sprintf("%s cannot be shaped", v.Device), err)
}

func notApplied(message string, err error) error {
	return &sluice.Error{Code: sluice.NotApplied, Message: message, Err: err}
}
