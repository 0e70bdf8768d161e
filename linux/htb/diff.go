package htb

import (
	"maps"
	"slices"

	"sluice/linux/tc"
)

// Steps is the way from what is to what is to be.
type Steps struct {
	Ops []Op
	// At are the classes that the nodes have in the end, by name.
	At map[string]uint16
	// Wait are classes to look at again soon: what is to go still holds
	// frames, or a queue is to be smaller once less waits in it.
	Wait []uint16
}

// Diff is how a direction becomes what it is to be. It needs to remember
// nothing: whose a class is, the map and the parents tell. It is empty when all
// is as it is to be. No class is removed while frames wait in it.
func Diff(have Kernel, want Tree) Steps {
	s := steps{have: have, want: want, used: make(map[uint16]bool), Steps: Steps{At: map[string]uint16{"": rootMinor}}}
	if len(want.Nodes) > 0 && !have.whole() {
		s.do(Op{Do: MakeTree})
	}
	if have.IFB == 0 || !have.HTB { // the classes went with it, and so do redirections to it
		s.have.Classes, s.have.Queues = nil, nil
	}
	if c, ok := s.have.Classes[rootMinor]; len(want.Nodes) > 0 && (!ok || !c.Is(want.Link)) {
		verb := MakeClass
		if ok {
			verb = ChangeClass
		}
		s.do(Op{Do: verb, Minor: rootMinor, Class: want.Link})
	}
	names := match(s.have, want)
	for _, n := range want.Nodes {
		s.node(n, names)
	}
	if !want.Part {
		s.rest()
	}
	slices.Sort(s.Wait)
	return s.Steps
}

type steps struct {
	Steps
	have Kernel
	want Tree
	used map[uint16]bool
}

func (s *steps) do(o Op) { s.Ops = append(s.Ops, o) }

// node brings one class, and the way to it, in order. Its parent has been.
func (s *steps) node(n Node, names map[string]uint16) {
	minor, there := names[n.Name]
	parent := s.At[n.Parent]
	now := s.have.Classes[minor]
	if !there || now.Parent.Minor() != parent || !canChangeInPlace(now, n) {
		if minor = s.allocateMinor(); minor == 0 {
			return // 65,000 classes are in use; the read back tells
		}
		s.do(Op{Do: MakeClass, Name: n.Name, Minor: minor, Parent: parent, Class: n.Class})
		there = false
	} else if !now.Is(n.Class) {
		s.do(Op{Do: ChangeClass, Name: n.Name, Minor: minor, Parent: parent, Class: n.Class})
	}
	s.At[n.Name] = minor
	if n.Group() {
		return
	}
	queue, queued := s.have.Queues[minor]
	if !there || !queued || !ownQueue(queue, minor) {
		s.do(Op{Do: MakeQueue, Name: n.Name, Minor: minor, Best: n.Queue})
	} else {
		set, later := n.Queue.fits(queue)
		if set != nil {
			s.do(Op{Do: ChangeQueue, Name: n.Name, Minor: minor, Queue: set})
		}
		if later {
			s.Wait = append(s.Wait, minor)
		}
	}
	entry := Entry{minor, n.Local}
	if is, ok := s.have.Map[n.Ifindex]; !ok || is != entry {
		s.do(Op{Do: Lead, Name: n.Name, Ifindex: n.Ifindex, Entry: entry})
	}
	if h := s.have.Hooks[n.Ifindex]; !h.Ingress && (!h.Current || s.have.IFB == 0) {
		s.do(Op{Do: Redirect, Name: n.Name, Ifindex: n.Ifindex})
	}
}

// rest takes down what is not wanted, once nothing waits in it.
func (s *steps) rest() {
	wanted := make(map[int]bool)
	for _, n := range s.want.Nodes {
		wanted[n.Ifindex] = true
	}
	keep := make(map[uint16]bool) // classes that stay
	for _, minor := range s.At {
		keep[minor] = true
	}
	waits := func(minor uint16) bool {
		c, ok := s.have.Classes[minor]
		return ok && c.Stats.Backlog > 0 && s.have.sends()
	}
	held := make(map[int]bool) // devices whose frames go on to a class that is to go
	for _, index := range slices.Sorted(maps.Keys(s.have.Hooks)) {
		if !s.have.Hooks[index].Ours || wanted[index] {
			continue
		}
		minor := s.have.Map[index].Minor
		if minor == 0 {
			minor = s.have.Hooks[index].Class
		}
		if waits(minor) { // what is sent now must not overtake it
			s.open(minor)
			keep[minor], held[index] = true, true
			continue
		}
		s.do(Op{Do: Unredirect, Ifindex: index})
	}
	for _, index := range slices.Sorted(maps.Keys(s.have.Map)) {
		if !wanted[index] && !held[index] {
			s.do(Op{Do: Unlead, Ifindex: index})
		}
	}
	// Children before their parents: a parent goes once it has none.
	children := make(map[uint16]int)
	for _, c := range s.have.Classes {
		children[c.Parent.Minor()]++
	}
	for again := true; again; {
		again = false
		for _, minor := range slices.Sorted(maps.Keys(s.have.Classes)) {
			if keep[minor] || minor == rootMinor || children[minor] > 0 {
				continue
			}
			keep[minor] = true // done with
			if waits(minor) {
				s.open(minor)
				continue
			}
			s.do(Op{Do: DeleteClass, Minor: minor})
			children[s.have.Classes[minor].Parent.Minor()]--
			again = true
		}
	}
}

// open lets a class that is to go send what waits in it, at once.
func (s *steps) open(minor uint16) {
	s.Wait = append(s.Wait, minor)
	if c := s.have.Classes[minor]; !c.Is(leaving) {
		s.do(Op{Do: ChangeClass, Minor: minor, Parent: c.Parent.Minor(), Class: leaving})
	}
}

// allocateMinor is a minor that no class has; 0 if there is none.
func (s *steps) allocateMinor() uint16 {
	for m := uint16(firstMinor); m <= lastMinor; m++ {
		if _, taken := s.have.Classes[m]; m != major && !taken && !s.used[m] { // a queue of that one would have the HTB's own handle
			s.used[m] = true
			return m
		}
	}
	return 0
}

// canChangeInPlace says whether a class may stay. HTB applies another priority
// only once nothing waits in the class, and keeps its token deficit.
func canChangeInPlace(c tc.Class, n Node) bool {
	return !deficit(c, n.Class) && (n.Group() || c.Stats.Backlog == 0 || c.Prio == n.Class.Prio)
}

// deficit says whether the class has sent so much beyond a small rate of its own
// that a greater would not be in force for a while. Tokens are time at the class's
// own rate, in ticks of 64 ns: what it borrows is charged to them too, down to a
// minute (sch_htb.c, htb_accnt_tokens and HTB's mbuffer), and a change keeps
// them. One frame of 64 KB is that minute where there was no guarantee.
func deficit(c tc.Class, want tc.HTB) bool {
	const while = 100e6 / 64 // ticks
	return want.Rate > c.Rate && c.Stats.Tokens < -while
}

// match says whose the classes in the kernel are: a vif's by the map, or by the
// filter of an older arrangement; a group's by being above its members.
func match(have Kernel, want Tree) map[string]uint16 {
	names, taken := make(map[string]uint16), make(map[uint16]bool)
	parents := make(map[string]string)
	for _, n := range want.Nodes {
		parents[n.Name] = n.Parent
	}
	claim := func(name string, minor uint16) {
		if _, ok := names[name]; !ok && !taken[minor] {
			names[name], taken[minor] = minor, true
		}
	}
	for _, n := range want.Nodes {
		minor := want.Names[n.Name]
		if _, there := have.Classes[minor]; there && minor != rootMinor {
			claim(n.Name, minor)
		}
	}
	for _, n := range want.Nodes {
		if n.Group() {
			continue
		}
		minor := have.Map[n.Ifindex].Minor
		if minor == 0 {
			minor = have.Hooks[n.Ifindex].Class
		}
		c, ok := have.Classes[minor]
		if !ok || minor == rootMinor || !c.Leaf() {
			continue
		}
		claim(n.Name, minor)
		var is []uint16 // above it, innermost first
		for at := c.Parent.Minor(); at != rootMinor && at != 0 && len(is) < 8; at = have.Classes[at].Parent.Minor() {
			is = append(is, at)
		}
		var should []string
		for at := n.Parent; at != ""; at = parents[at] {
			should = append(should, at)
		}
		if len(is) != len(should) {
			continue
		}
		for i, name := range should {
			claim(name, is[i])
		}
	}
	return names
}
