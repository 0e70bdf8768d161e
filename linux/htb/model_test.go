package htb

import (
	"fmt"
	"maps"
	"strings"

	"sluice"
	"sluice/linux/tc"
)

// model is a kernel that Diff's steps are tried on. It refuses what the real
// one refuses, and what would lose frames or misdirect them.
type model struct{ Kernel }

func emptyKernel() *model {
	return &model{Kernel{Classes: map[uint16]tc.Class{}, Queues: map[uint16]tc.Qdisc{}, Map: map[int]Entry{}, Hooks: map[int]Hook{}}}
}

func (m *model) children(minor uint16) (n int) {
	for _, c := range m.Classes {
		if c.Parent.Minor() == minor && c.Handle.Minor() != minor {
			n++
		}
	}
	return n
}

func (m *model) apply(o Op) error {
	c, there := m.Classes[o.Minor]
	switch o.Do {
	case MakeTree:
		m.Taken = false
		if m.IFB == 0 {
			m.IFB, m.HTB = 1000, false
			for index, h := range m.Hooks {
				h.Current = false
				m.Hooks[index] = h
			}
		}
		if !m.HTB {
			clear(m.Classes)
			clear(m.Queues)
		}
		m.Up, m.HTB, m.Classifier = true, true, true
		return nil
	case MakeClass:
		if there || !m.HTB {
			return fmt.Errorf("class %x is there, or no HTB", o.Minor)
		}
		if o.Minor != rootMinor {
			p, ok := m.Classes[o.Parent]
			if !ok {
				return fmt.Errorf("no parent %x", o.Parent)
			}
			if p.Stats.Backlog > 0 {
				return fmt.Errorf("what waits in %x would be lost, for it gets a child", o.Parent)
			}
			p.Queue = 0 // an inner class has none
			m.Classes[o.Parent] = p
			delete(m.Queues, o.Parent)
		}
		m.Classes[o.Minor] = m.told(o, tc.Class{})
		return nil
	case ChangeClass:
		if !there || c.Parent.Minor() != o.Parent {
			return fmt.Errorf("no class %x under %x", o.Minor, o.Parent)
		}
		m.Classes[o.Minor] = m.told(o, c)
		return nil
	case MakeQueue:
		if q, queued := m.Queues[o.Minor]; queued && ownQueue(q, o.Minor) || !there || !c.Leaf() {
			return fmt.Errorf("a queue in %x", o.Minor)
		}
		q := tc.Qdisc{Kind: tc.FQCodelKind, FQCodel: o.Best.Fair}
		if m.Plain {
			q = tc.Qdisc{Kind: tc.FIFOKind, FIFO: o.Best.Plain}
		}
		m.Queues[o.Minor] = q
		return nil
	case ChangeQueue:
		q, queued := m.Queues[o.Minor]
		if !queued || q.Kind != o.Queue.Kind() {
			return fmt.Errorf("no %s in %x", o.Queue.Kind(), o.Minor)
		}
		switch to := o.Queue.(type) {
		case tc.FIFO:
			q.FIFO = to
		case tc.FQCodel:
			if q.Stats.Memory > to.Memory {
				return fmt.Errorf("what waits in %x would be dropped", o.Minor)
			}
			q.FQCodel = to
		}
		m.Queues[o.Minor] = q
		return nil
	case Lead:
		if to, ok := m.Classes[o.Entry.Minor]; !ok || !to.Leaf() {
			return fmt.Errorf("device %d is led to %x, where nothing can wait", o.Ifindex, o.Entry.Minor)
		}
		m.Map[o.Ifindex] = o.Entry
		return nil
	case Redirect:
		if _, led := m.Map[o.Ifindex]; !led || !m.whole() || m.Hooks[o.Ifindex].Ingress {
			return fmt.Errorf("device %d is redirected to nowhere", o.Ifindex)
		}
		m.Hooks[o.Ifindex] = Hook{Clsact: true, Ours: true, Current: true}
		return nil
	case Unredirect:
		if minor := m.Map[o.Ifindex].Minor; m.Classes[minor].Stats.Backlog > 0 {
			return fmt.Errorf("what waits in %x is overtaken", minor)
		}
		delete(m.Hooks, o.Ifindex)
		return nil
	case Unlead:
		if m.Hooks[o.Ifindex].Current && m.whole() {
			return fmt.Errorf("device %d is redirected and has no class", o.Ifindex)
		}
		delete(m.Map, o.Ifindex)
		return nil
	case DeleteClass:
		if !there || m.children(o.Minor) > 0 || c.Stats.Backlog > 0 {
			return fmt.Errorf("class %x: there %v, %d children, %d bytes wait", o.Minor, there, m.children(o.Minor), c.Stats.Backlog)
		}
		for index, e := range m.Map {
			if e.Minor == o.Minor {
				return fmt.Errorf("device %d is led to %x", index, o.Minor)
			}
		}
		delete(m.Classes, o.Minor)
		delete(m.Queues, o.Minor)
		if p, ok := m.Classes[c.Parent.Minor()]; ok && m.children(c.Parent.Minor()) == 0 {
			p.Queue = tc.NewHandle(0x8001, 0) // htb_parent_to_leaf gives it one of its own
			m.Classes[c.Parent.Minor()] = p
		}
		return nil
	}
	return fmt.Errorf("no step %q", o.Do)
}

// told is a class that was told to be so. A new one is a leaf.
func (m *model) told(o Op, was tc.Class) tc.Class {
	c := classOf(o, was)
	if c.Queue = was.Queue; was.Handle == 0 {
		c.Queue = tc.NewHandle(0x8001, 0)
	}
	if was.Handle != 0 && c.Rate <= was.Rate {
		c.Stats.Tokens = was.Stats.Tokens
	}
	return c
}

// drain has what waits sent.
func (m *model) drain(minors []uint16) {
	for _, minor := range minors {
		if c, ok := m.Classes[minor]; ok {
			c.Stats.Backlog, c.Stats.Tokens = 0, 0
			m.Classes[minor] = c
		}
		if q, ok := m.Queues[minor]; ok {
			q.Stats.Memory = 0
			m.Queues[minor] = q
		}
	}
}

// become applies steps until nothing is left to do, and returns them.
func (m *model) become(want Tree) (did []Op, err error) {
	for round := 0; ; round++ {
		steps := Diff(m.snapshot(), want)
		for _, o := range steps.Ops {
			if err := m.apply(o); err != nil {
				return did, fmt.Errorf("%s: %w", o, err)
			}
			did = append(did, o)
		}
		if len(steps.Ops) == 0 && len(steps.Wait) == 0 {
			return did, nil
		}
		m.drain(steps.Wait)
		if round > 20 {
			return did, fmt.Errorf("after %d rounds: %s", round, opsText(steps.Ops))
		}
	}
}

// snapshot is what a driver has read.
func (m *model) snapshot() Kernel {
	k := m.Kernel
	k.Classes, k.Queues, k.Map, k.Hooks = maps.Clone(k.Classes), maps.Clone(k.Queues), maps.Clone(k.Map), maps.Clone(k.Hooks)
	return k
}

func opsText(ops []Op) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintln(&b, o)
	}
	if len(ops) == 0 {
		return "nothing\n"
	}
	return b.String()
}

func treeText(t Tree) string {
	if len(t.Nodes) == 0 {
		return "nothing\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "link: %s\n", classText(t.Link))
	for _, n := range t.Nodes {
		fmt.Fprint(&b, n.Name)
		if n.Parent != "" {
			fmt.Fprint(&b, " in ", n.Parent)
		}
		fmt.Fprintf(&b, ": %s", classText(n.Class))
		if !n.Group() {
			fmt.Fprintf(&b, "\n    device %d, queue %s or %s", n.Ifindex, queueText(n.Queue.Fair), queueText(n.Queue.Plain))
		}
		if n.Local {
			b.WriteString(", local frames past it")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// alloc is an allocation for tx; rx is unshaped.
func alloc(limit, guarantee sluice.Rate, weight, priority int, group string) sluice.Allocations {
	a := sluice.UnshapedBoth
	a.Tx, a.Group = sluice.Allocation{Limit: limit, Guarantee: guarantee, Weight: weight, Priority: priority}, group
	return a
}
