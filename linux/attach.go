package linux

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

// attachment is what is on a device's hooks.
type attachment struct {
	class          handle // ours; 0 if none
	has            map[sluice.Direction]bool
	clsact         bool
	made           bool // the clsact is of our making
	foreign        bool // filters of others use it
	foreignIngress bool // an ingress qdisc stands where a clsact would
}

// attached reads a device's hooks.
func (h *HTB) attached(index int) (attachment, error) {
	on := attachment{has: make(map[sluice.Direction]bool)}
	err := h.tc.qdiscs(index, func(q qdisc) {
		on.clsact = on.clsact || q.kind == "clsact"
		on.foreignIngress = on.foreignIngress || q.kind == "ingress"
	})
	if err != nil || !on.clsact {
		return on, err
	}
	for _, d := range sluice.Directions {
		err := h.tc.filters(index, d, func(f filter) {
			if !f.ours {
				on.foreign = true
				return
			}
			on.class, on.has[d] = f.class, true
			on.made = on.made || f.made
		})
		if err != nil {
			return on, err
		}
	}
	return on, nil
}

// detach takes our filters, and the clsact if it was ours and nobody else
// uses it, off a device.
func (h *HTB) detach(index int) error {
	on, err := h.attached(index)
	if err != nil {
		return err
	}
	for d := range on.has {
		if err := h.tc.deleteFilter(index, d); err != nil {
			return err
		}
	}
	delete(h.shaped, index)
	if on.made && !on.foreign {
		return h.tc.deleteClsact(index)
	}
	return nil
}

// sweep removes the classes that no device's filter leads to, once what waits
// in them is sent. h.mu is held.
func (h *HTB) sweep(ctx context.Context) error {
	if h.trees == nil {
		return nil
	}
	links, err := h.links.LinkList()
	if err != nil {
		return notApplied("the devices cannot be listed", err)
	}
	alive := make(map[uint16]bool)
	for _, l := range links {
		on, err := h.attached(l.Attrs().Index)
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return notApplied(fmt.Sprintf("the filters of %s cannot be read", l.Attrs().Name), err)
		}
		alive[on.class.minor()] = true
	}
	return h.prune(ctx, alive)
}

// fell lets a class send what it still holds, at once, and removes it.
func (h *HTB) fell(ctx context.Context, t tree, c handle) error {
	now, there, err := h.tc.class(t.ifindex, c)
	if err != nil || !there {
		return err
	}
	if now.stats.backlog > 0 {
		if err := h.tc.putClass(t.ifindex, c, now.parent, leaf(sluice.Unshaped, gsoFrame, 0)); err != nil {
			return err
		}
	}
	for end := time.Now().Add(time.Second); now.stats.backlog > 0 && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(2 * time.Millisecond)
		if now, there, err = h.tc.class(t.ifindex, c); err != nil || !there {
			return err
		}
	}
	return h.tc.deleteClass(t.ifindex, c)
}

// CleanUp takes everything of ours out of the kernel, whoever made it: the
// filters, the clsacts made for them and the IFBs. It needs no driver, and
// works after a crash. The error is NotApplied and says what is left.
func CleanUp(ctx context.Context) error {
	h, err := NewHTB(nil)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.links.LinkList()
	if err != nil {
		return notApplied("the devices cannot be listed", err)
	}
	var left []error
	for _, l := range links {
		if err := h.detach(l.Attrs().Index); err != nil && !errors.Is(err, unix.ENODEV) {
			left = append(left, fmt.Errorf("%s: %w", l.Attrs().Name, err))
		}
	}
	if len(left) == 0 {
		for _, d := range sluice.Directions {
			if err := h.uproot(ctx, d); err != nil {
				left = append(left, err)
			}
		}
	}
	if len(left) > 0 {
		return notApplied("not everything could be removed", errors.Join(left...))
	}
	return nil
}

// uproot removes a direction's IFB with its tree, after what waits is sent.
func (h *HTB) uproot(ctx context.Context, d sluice.Direction) error {
	link, err := h.links.LinkByName(ifbName(d))
	if errors.As(err, &netlink.LinkNotFoundError{}) || err == nil && link.Type() != "ifb" {
		return nil
	}
	if err != nil {
		return err
	}
	t := tree{d, link.Attrs().Index}
	var all []handle
	if err := h.tc.classes(t.ifindex, func(c class) {
		if c.leaf {
			all = append(all, c.handle)
		}
	}); err != nil {
		return err
	}
	for _, c := range all {
		if err := h.fell(ctx, t, c); err != nil {
			return err
		}
	}
	return h.links.LinkDel(link)
}
