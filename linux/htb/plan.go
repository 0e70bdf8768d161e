package htb

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"sluice"
	"sluice/linux/tc"
)

// Tree is what one direction is to be.
type Tree struct {
	Direction sluice.Direction
	Link      tc.HTB // the root class
	Nodes     []Node // groups before their members
	// Part: the nodes are not all that there are to be, so nothing is taken down
	// for not being among them. Names are the classes that nodes have as far
	// as is known then.
	Part  bool
	Names map[string]uint16

	share sharing // that the nodes were made with
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
	t.share = s.share(d, shaped, a)
	depth := map[string]int{} // of groups with members, by name
	vifs := make([]Node, 0, len(shaped))
	for _, key := range slices.Sorted(maps.Keys(shaped)) {
		v := shaped[key]
		chain, ok := s.ancestors(v.Want.Group)
		if !ok {
			continue
		}
		for i, name := range chain {
			depth[name] = len(chain) - i
		}
		vifs = append(vifs, s.node(d, key, v, chain, t.share, a))
	}
	for name := range depth {
		g := s.Groups[name]
		t.Nodes = append(t.Nodes, Node{Name: groupKey(name), Parent: groupKey(g.Group), Class: inner(g.Get(d), t.share.late, s.overhead(d))})
	}
	level := func(n Node) int { // outer groups before inner ones
		name, _ := sluice.GroupOf(n.Name)
		return depth[name]
	}
	slices.SortFunc(t.Nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(level(a), level(b)), cmp.Compare(a.Name, b.Name)) })
	t.Nodes = append(t.Nodes, vifs...)
	return t
}

// node is a vif's class.
func (s State) node(d sluice.Direction, key string, v VIF, chain []string, share sharing, a Activity) Node {
	own := v.Want.Get(d)
	rate, limited := min(bytesPerSecond(own.Limit), bytesPerSecond(s.Capacity.Get(d))), own.Limit != sluice.Unlimited
	for _, name := range chain {
		limited = limited || s.Groups[name].Get(d).Limit != sluice.Unlimited
	}
	_, demoted := a.Beyond[key]
	return Node{Name: key, Parent: groupKey(v.Want.Group), Ifindex: v.Ifindex, Local: !limited,
		Class: leaf(own, share.quanta[key], share.late, s.overhead(d), demoted), Queue: newQueue(rate, share.late)}
}

// basis is what a plan was made of.
type basis struct {
	state    State     // whose vifs go on being changed in place
	vifs     int       // how many there were
	activity time.Time // [Activity.Changed]
	// was are the vifs that have changed since, as they were.
	was map[string]VIF
}

// follows says whether all that differs between s and the basis that t was
// made of are limits of vifs: then nobody else's node is another.
func (t Tree) follows(s State, of basis, a Activity) bool {
	if s.Capacity != of.state.Capacity || s.Overhead != of.state.Overhead || len(s.VIFs) != of.vifs || !of.activity.Equal(a.Changed) ||
		!maps.Equal(s.Groups, of.state.Groups) {
		return false
	}
	for key, was := range of.was {
		v, is := s.VIFs[key]
		now, before := v.Want.Get(t.Direction), was.Want.Get(t.Direction)
		if now.Limit == sluice.Unlimited || before.Limit == sluice.Unlimited {
			return false // it may come into the tree, or leave it
		}
		now.Limit = before.Limit
		_, known := s.ancestors(v.Want.Group)
		if !is || !known || now != before || v.Ifindex != was.Ifindex || v.Want.Group != was.Want.Group || t.find(key) < 0 {
			return false
		}
	}
	return true
}

// follow makes the nodes of vifs that have changed anew, in place, where t follows.
func (t Tree) follow(s State, of basis, a Activity) {
	for key := range of.was {
		v := s.VIFs[key]
		chain, _ := s.ancestors(v.Want.Group)
		t.Nodes[t.find(key)] = s.node(t.Direction, key, v, chain, t.share, a)
	}
}

// groups is how many of the nodes are groups'.
func (t Tree) groups() int {
	if i := slices.IndexFunc(t.Nodes, func(n Node) bool { return !n.Group() }); i >= 0 {
		return i
	}
	return len(t.Nodes)
}

// find is the place of a vif's node; -1 if it has none.
func (t Tree) find(key string) int {
	groups := t.groups()
	at, found := slices.BinarySearchFunc(t.Nodes[groups:], key, func(n Node, key string) int { return cmp.Compare(n.Name, key) })
	if !found {
		return -1
	}
	return groups + at
}

// groupKey is the key of a group; "" for the host itself.
func groupKey(name string) string {
	if name == "" || name == sluice.HostGroup {
		return ""
	}
	return sluice.GroupVIF(name).Key()
}

// differing are the names of nodes that two plans have differently; ok is
// false where they do not have the same nodes.
func (t Tree) differing(old Tree) (names map[string]bool, ok bool) {
	if len(t.Nodes) != len(old.Nodes) || t.Link != old.Link {
		return nil, false
	}
	names = make(map[string]bool)
	for i, n := range t.Nodes {
		switch was := old.Nodes[i]; {
		case n.Name != was.Name:
			return nil, false
		case n != was:
			names[n.Name] = true
		}
	}
	return names, true
}

// part is the plan of some vifs alone, and of all groups.
func (t Tree) part(names map[string]bool) Tree {
	out := Tree{Direction: t.Direction, Link: t.Link, Part: true, Nodes: slices.Clone(t.Nodes[:t.groups()])}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if at := t.find(name); at >= 0 {
			out.Nodes = append(out.Nodes, t.Nodes[at])
		}
	}
	return out
}
