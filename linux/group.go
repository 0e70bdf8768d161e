package linux

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sluice"
)

// group is one as the driver knows it. Its classes, of one minor in both
// trees, exist while it has members.
type group struct {
	want  sluice.Allocations
	minor uint16 // 0 without members
}

// applyGroup has the kernel enforce want on a group. h.mu is held.
func (h *HTB) applyGroup(ctx context.Context, name string, want sluice.Allocations) error {
	g := h.groups[name]
	if g == nil {
		g = &group{}
		h.groups[name] = g
	}
	before := g.want
	g.want = want
	if g.minor == 0 {
		if want.Group == "" {
			delete(h.groups, name)
		}
		return nil
	}
	err := h.settle(ctx, name, g)
	if err == nil {
		err = h.tune()
	}
	if err == nil {
		return nil
	}
	g.want = before
	return notApplied(fmt.Sprintf("group %s cannot be shaped", name), errors.Join(err, h.putGroup(g), h.gather(ctx, name), h.tune()))
}

// settle gives a group's classes what it should have, or, where those are in
// debt for it, gives the group others.
func (h *HTB) settle(ctx context.Context, name string, g *group) error {
	owes := false
	for d, t := range h.trees {
		now, _, err := h.tc.class(t.ifindex, classHandle(g.minor))
		if err != nil {
			return err
		}
		owes = owes || now.owes(inner(g.want.Get(d), h.rhythm(d).late))
	}
	if owes {
		minor, err := h.free()
		if err != nil {
			return err
		}
		h.used[minor], g.minor = true, minor
		for _, below := range h.groups {
			if h.within(below.want.Group, name) {
				below.minor = 0 // its classes are below the old ones
			}
		}
	}
	if err := h.putGroup(g); err != nil || !owes {
		return err
	}
	return h.gather(ctx, name)
}

// gather has all vifs in a group, and in those inside it, go to its classes.
func (h *HTB) gather(ctx context.Context, name string) error {
	for index, c := range h.shaped {
		if !h.within(h.set[c.minor()].Group, name) {
			continue
		}
		if err := h.reshape(ctx, index); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return nil
}

// within says whether a group is another, or inside it.
func (h *HTB) within(name, other string) bool {
	for depth := 0; name != "" && name != other && h.groups[name] != nil && depth <= sluice.MaxDepth; depth++ {
		name = h.groups[name].want.Group
	}
	return name == other
}

// putGroup gives a group's classes what it should have.
func (h *HTB) putGroup(g *group) error {
	for d, t := range h.trees {
		if err := h.put(t, classHandle(g.minor), h.branch(g.want.Group), inner(g.want.Get(d), h.rhythm(d).late)); err != nil {
			return err
		}
	}
	return nil
}

// branch is the class that the members of a group are under.
func (h *HTB) branch(name string) handle {
	if g := h.groups[name]; g != nil && g.minor != 0 {
		return classHandle(g.minor)
	}
	return trunkClass
}

// grow makes the classes of a group, and of those that it is in, where they
// are missing. A driver that starts takes over those that a leaf is under, if
// they are nobody's.
func (h *HTB) grow(name string, leaf handle) error {
	var chain []*group // outermost first
	for name != "" && name != sluice.HostGroup {
		g := h.groups[name]
		if g == nil || len(chain) > sluice.MaxDepth {
			return fmt.Errorf("group %s is not known", name)
		}
		chain = append([]*group{g}, chain...)
		name = g.want.Group
	}
	found, err := h.above(leaf)
	if err != nil {
		return err
	}
	adopt := len(found) == len(chain)
	for i, g := range chain {
		adopt = adopt && (g.minor == found[i] || g.minor == 0 && !h.taken(found[i]))
	}
	for i, g := range chain {
		if g.minor != 0 {
			continue
		}
		if adopt {
			g.minor = found[i]
		} else if g.minor, err = h.free(); err != nil {
			return err
		}
		h.used[g.minor] = true
		if err := h.putGroup(g); err != nil {
			return err
		}
	}
	return nil
}

// above are the minors of the classes between the trunk and a leaf, outermost
// first, where both trees say the same.
func (h *HTB) above(leaf handle) ([]uint16, error) {
	var of [2][]uint16
	if leaf == 0 {
		return nil, nil
	}
	for i, d := range sluice.Directions {
		for c := leaf; len(of[i]) <= sluice.MaxDepth; {
			now, there, err := h.tc.class(h.trees[d].ifindex, c)
			if err != nil || !there {
				return nil, err
			}
			if c = now.parent; c == trunkClass || c.minor() == 0 {
				break
			}
			of[i] = append([]uint16{c.minor()}, of[i]...)
		}
	}
	if fmt.Sprint(of[0]) != fmt.Sprint(of[1]) {
		return nil, nil
	}
	return of[0], nil
}

// keeps says whether a vif may keep its class: it has one, and neither tree
// has it elsewhere than under the parent, or with another priority, which HTB
// heeds only once nothing waits in it, or in debt for what it is now to have.
func (h *HTB) keeps(leaf, parent handle, want sluice.Allocations) (bool, error) {
	if leaf == 0 {
		return false, nil
	}
	for d, t := range h.trees {
		now, there, err := h.tc.class(t.ifindex, leaf)
		if err != nil {
			return false, err
		}
		p := h.leaf(d, leaf.minor(), want, rhythm{})
		if there && (now.parent != parent || now.stats.backlog > 0 && now.prio != p.prio || now.owes(p)) {
			return false, nil
		}
	}
	return true, nil
}

func (h *HTB) taken(minor uint16) bool {
	for _, g := range h.groups {
		if g.minor == minor {
			return true
		}
	}
	return false
}

// prune removes the classes that no device's filter leads to and that have
// nothing below them, once what waits in them is sent. h.mu is held.
func (h *HTB) prune(ctx context.Context, alive map[uint16]bool) error {
	for _, t := range h.trees {
		parents := make(map[uint16]uint16)
		if err := h.tc.classes(t.ifindex, func(c class) { parents[c.handle.minor()] = c.parent.minor() }); err != nil {
			return notApplied("the classes cannot be listed", err)
		}
		kept := map[uint16]bool{trunkClass.minor(): true}
		for m := range parents {
			for at := m; alive[m] && at != 0 && !kept[at]; at = parents[at] {
				kept[at] = true
			}
		}
		for len(parents) > 0 {
			above := make(map[uint16]bool)
			for _, p := range parents {
				above[p] = true
			}
			felled := false
			for m := range parents {
				if kept[m] || above[m] {
					continue
				}
				if err := h.fell(ctx, t, classHandle(m)); err != nil {
					return notApplied(fmt.Sprintf("class %s cannot be removed", classHandle(m)), err)
				}
				delete(parents, m)
				felled = true
			}
			if !felled {
				break
			}
		}
		for m := range kept {
			alive[m] = true
		}
	}
	for m := range h.used {
		if !alive[m] {
			delete(h.used, m)
			delete(h.set, m)
		}
	}
	for name, g := range h.groups {
		if g.minor != 0 && !alive[g.minor] {
			if g.minor = 0; g.want.Group == "" {
				delete(h.groups, name)
			}
		}
	}
	return nil
}
