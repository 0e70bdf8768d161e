package htb

import (
	"cmp"
	"slices"

	"sluice"
	"sluice/linux/tc"
)

// Tree is what one direction is to be.
type Tree struct {
	Direction sluice.Direction
	Link      tc.HTB // the root class
	Nodes     []Node // groups before their members
}

// Node is a class below the root: a group's, or a vif's.
type Node struct {
	Name   string // a vif's key, or a group's, which begins with "@"
	Parent string // the key of the group that it is in; "" is the root class
	Class  tc.HTB

	// Of a vif alone.
	Ifindex int
	Queue   Queue
	// Local: frames that do not cross the link need not pass the tree, for
	// nothing but the link's capacity holds them back.
	Local bool
}

// Group says whether the node is a group's class, which has no queue.
func (n Node) Group() bool { return n.Ifindex == 0 }

// Plan is what a direction is to be under a state. A group has a class while it
// has members. A vif whose group is not known is left out.
func Plan(s State, d sluice.Direction, a Activity) Tree {
	t := Tree{Direction: d, Link: s.link(d)}
	shaped := s.shaped(d)
	share, over := s.share(d, shaped, a), s.overhead(d)
	depth := map[string]int{} // of groups with members, by name
	for key, v := range shaped {
		chain, ok := s.ancestors(v.Want.Group)
		if !ok {
			continue
		}
		own := v.Want.Get(d)
		rate, limited := min(bytesPerSecond(own.Limit), bytesPerSecond(s.Capacity.Get(d))), own.Limit != sluice.Unlimited
		for i, name := range chain {
			depth[name] = len(chain) - i
			limited = limited || s.Groups[name].Get(d).Limit != sluice.Unlimited
		}
		_, demoted := a.Beyond[key]
		t.Nodes = append(t.Nodes, Node{Name: key, Parent: groupKey(v.Want.Group), Ifindex: v.Ifindex, Local: !limited,
			Class: leaf(own, share.quanta[key], share.late, over, demoted), Queue: newQueue(rate, share.late)})
	}
	for name := range depth {
		g := s.Groups[name]
		t.Nodes = append(t.Nodes, Node{Name: groupKey(name), Parent: groupKey(g.Group), Class: inner(g.Get(d), share.late, over)})
	}
	level := func(n Node) int { // outer groups, inner ones, vifs
		if n.Group() {
			name, _ := sluice.GroupOf(n.Name)
			return depth[name]
		}
		return sluice.MaxDepth + 2
	}
	slices.SortFunc(t.Nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(level(a), level(b)), cmp.Compare(a.Name, b.Name)) })
	return t
}

// groupKey is the key of a group; "" for the host itself.
func groupKey(name string) string {
	if name == "" || name == sluice.HostGroup {
		return ""
	}
	return sluice.GroupVIF(name).Key()
}
