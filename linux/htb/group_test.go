package htb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice"
	"sluice/linux/tc"
)

func grouped(group string, limit sluice.Rate) sluice.Allocations {
	a := sluice.UnshapedBoth
	a.Group, a.Tx.Limit, a.Rx.Limit = group, limit, limit
	return a
}

// above are the classes over the vif's own, outermost first.
func (b *bench) above() (found []uint16) {
	b.Helper()
	b.htb.lock <- struct{}{}
	defer b.htb.unlock()
	k := b.htb.have[sluice.Tx]
	index := b.htb.links["vif0"]
	for at := k.Classes[k.Map[index].Minor].Parent.Minor(); at != rootMinor && at != 0; at = k.Classes[at].Parent.Minor() {
		found = append([]uint16{at}, found...)
	}
	return found
}

func (b *bench) classes() (n int) {
	b.Helper()
	for _, d := range sluice.Directions {
		if err := b.htb.conn.Classes(b.ifb(d), func(tc.Class) { n++ }); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// left waits until there are so many classes.
func (b *bench) left(want int) {
	b.Helper()
	b.eventually(fmt.Sprintf("%d classes are left", want), func() bool { return b.classes() == want })
}

// group sets a group.
func (b *bench) group(name string, want sluice.Allocations) {
	b.Helper()
	groups := maps.Clone(b.state.Groups)
	if groups == nil {
		groups = map[string]sluice.Allocations{}
	}
	groups[name] = want
	b.state.Groups = groups
	b.set()
}

// TestGroups puts a vif into groups, in one another, and out again, under
// load that loses nothing; a new driver takes them over as they are.
func TestGroups(t *testing.T) {
	b := newBench(t)
	b.group("gold", grouped(sluice.HostGroup, 30*sluice.Mbit))
	b.group("inner", grouped("gold", 20*sluice.Mbit))
	b.must(grouped("", sluice.Unlimited)) // the capacity is not known, so this is nothing
	b.apply(100*sluice.Mbit, 100*sluice.Mbit)
	before := b.classes()

	b.must(grouped("inner", 100*sluice.Mbit))
	b.passes("tx in a group", b.vm, b.host, "192.0.2.1", 20e6*0.957)
	b.passes("rx in a group", b.host, b.vm, "192.0.2.2", 20e6*0.957)
	chain := b.above()
	if len(chain) != 2 {
		t.Fatalf("above the vif are %v\n%s", chain, b.run("tc", "class", "show", "dev", "sluice-tx"))
	}
	b.left(before + 4)
	b.group("inner", grouped("gold", 10*sluice.Mbit))
	b.passes("after the group's change", b.vm, b.host, "192.0.2.1", 10e6*0.957)

	// A new driver, told the same, changes nothing.
	was := b.shown()
	b.start()
	b.set()
	if now := b.shown(); now != was {
		t.Errorf("the new driver changed the kernel:\n%s\nwas:\n%s", now, was)
	}
	if got := b.above(); fmt.Sprint(got) != fmt.Sprint(chain) {
		t.Errorf("above the vif are %v, were %v", got, chain)
	}

	b.must(grouped("gold", 100*sluice.Mbit))
	b.passes("in the outer group", b.vm, b.host, "192.0.2.1", 30e6*0.957)
	b.must(grouped("", 40*sluice.Mbit))
	b.passes("out of groups", b.vm, b.host, "192.0.2.1", 40e6*0.957)
	b.left(before)
	unknown := b.state
	unknown.VIFs = map[string]sluice.Bound{b.vif.Key(): {VIF: b.vif, Want: grouped("nobody", sluice.Mbit)}}
	failed, err := b.htb.Set(context.Background(), unknown)
	if err != nil || failed[b.vif.Key()] == nil || !strings.Contains(failed[b.vif.Key()].Error(), "nobody") {
		t.Errorf("a group that is not known: %v %v", failed, err)
	}
	b.set() // the way back
	b.passes("after that", b.vm, b.host, "192.0.2.1", 40e6*0.957)
}

// TestQuanta divides a group's weight among its members, and what those have
// who are silent among the others.
func TestQuanta(t *testing.T) {
	weighted := func(group string, w int) sluice.Allocations {
		a := sluice.Allocation{Limit: sluice.Unlimited, Weight: w}
		return sluice.Allocations{Tx: a, Rx: a, Group: group}
	}
	s := State{Capacity: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit},
		Groups: map[string]sluice.Allocations{"gold": weighted(sluice.HostGroup, 200), "inner": weighted("gold", 100)},
		VIFs: map[string]VIF{"a": {1, weighted("", 100)}, "b": {2, weighted("gold", 300)},
			"c": {3, weighted("inner", 100)}, "d": {4, weighted("inner", 100)}}}
	got := s.share(sluice.Tx, s.VIFs, Activity{}).quanta
	// gold's 200 are 150 for the vif and 50 for inner, whose two have 25 each.
	for key, want := range map[string]uint32{"a": 4, "b": 6, "c": 1, "d": 1} {
		if got[key] != want*gsoFrame {
			t.Errorf("%s has a quantum of %d, want %d frames", key, got[key], want)
		}
	}
	// An idle member keeps its share of the whole: of 200 the 300 of 400, and of those that inner has the half.
	for _, idle := range []struct {
		who  string
		want map[string]float64
	}{
		{"b", map[string]float64{"a": 1, "b": 1.5, "c": 1, "d": 1}},
		{"d", map[string]float64{"a": 2, "b": 3, "c": 1, "d": .5}},
		{"cd", map[string]float64{"a": 1, "b": 2, "c": .25, "d": .25}},
		{"bcd", map[string]float64{"a": 1, "b": 1.5, "c": .25, "d": .25}},
	} {
		a := Activity{Bytes: map[string]uint64{}, Seen: map[string]time.Time{}}
		for key := range s.VIFs {
			if a.Bytes[key] = 0; !strings.Contains(idle.who, key) {
				a.Seen[key] = time.Now()
			}
		}
		got := s.share(sluice.Tx, s.VIFs, a).quanta
		for key, want := range idle.want {
			if want := uint32(max(want, 1) * gsoFrame); got[key] != want {
				t.Errorf("%s idle: %s has a quantum of %d, want %d", idle.who, key, got[key], want)
			}
		}
	}
}

// TestBusy divides the link's time among those that use it, and lets priority
// count within the guarantee alone.
func TestBusy(t *testing.T) {
	s := State{Capacity: sluice.Capacity{Tx: 200 * sluice.Mbit, Rx: 200 * sluice.Mbit}, VIFs: map[string]VIF{}}
	for i := range 200 {
		s.VIFs[fmt.Sprint("vif", i)] = VIF{i + 1, sluice.UnshapedBoth}
	}
	own := sluice.UnshapedBoth
	own.Tx.Guarantee, own.Tx.Priority = 10*sluice.Mbit, 1
	s.VIFs["vif0"] = VIF{1, own}
	var a Activity
	node := func(name string) tc.HTB {
		for _, n := range Plan(s, sluice.Tx, a).Nodes {
			if n.Name == name {
				return n.Class
			}
		}
		t.Fatal("there is no " + name)
		return tc.HTB{}
	}
	if got := node("vif1").Quantum; got != 6250 {
		t.Errorf("of 200 that may be busy each sends %d bytes in a round, want %d", got, 6250)
	}
	now, sent := time.Now(), make(map[string]uint64)
	look := func(bytes map[string]uint64) {
		now = now.Add(time.Second)
		for key, n := range bytes {
			sent[key] += n
		}
		a = s.observe(sluice.Tx, s.VIFs, a, now, func(key string) (tc.Stats, bool) { return tc.Stats{Bytes: sent[key]}, true })
	}
	look(nil)
	look(map[string]uint64{"vif0": 1_000_000, "vif1": 10_000_000})
	if got := node("vif1").Quantum; got != 50000 {
		t.Errorf("of two that are busy each sends %d bytes in a round, want %d", got, 50000)
	}
	if node("vif0").Prio != urgent {
		t.Error("within its guarantee it has no priority")
	}
	look(map[string]uint64{"vif0": 2_000_000})
	if node("vif0").Prio != bulk {
		t.Error("beyond its guarantee it has priority")
	}
	for range 11 {
		look(map[string]uint64{"vif0": 1_000_000})
	}
	if node("vif0").Prio != urgent {
		t.Error("it does not get its priority back")
	}
}

// TestReplan compares a plan made over where limits alone differ with one made
// anew.
func TestReplan(t *testing.T) {
	s := State{Capacity: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit}, Overhead: Ethernet, VIFs: map[string]VIF{},
		Groups: map[string]sluice.Allocations{"gold": grouped(sluice.HostGroup, 500*sluice.Mbit)}}
	for i := range 20 {
		s.VIFs[fmt.Sprint("vm", i)] = VIF{i + 1, grouped([]string{"", "gold"}[i%2], sluice.Rate(10+i)*sluice.Mbit)}
	}
	a := Activity{At: time.Now(), Bytes: map[string]uint64{"vm1": 1}, Seen: map[string]time.Time{"vm3": time.Now()}}
	old := Plan(s, sluice.Tx, a)
	next := s
	next.VIFs = maps.Clone(s.VIFs)
	next.VIFs["vm3"] = VIF{4, grouped("gold", 99*sluice.Mbit)}
	next.VIFs["vm4"] = VIF{5, grouped("", 98*sluice.Mbit)}
	of := basis{state: s, vifs: len(s.VIFs), activity: a.Changed, was: map[string]VIF{"vm3": s.VIFs["vm3"], "vm4": s.VIFs["vm4"]}}
	got := old
	got.Nodes = slices.Clone(old.Nodes)
	if !got.follows(next, of, a) {
		t.Fatal("other limits are taken for more")
	}
	got.follow(next, of, a)
	want := Plan(next, sluice.Tx, a)
	if !slices.Equal(got.Nodes, want.Nodes) || slices.Equal(got.Nodes, old.Nodes) {
		t.Errorf("\n%+v\nwant\n%+v", got.Nodes, want.Nodes)
	}
	part := got.part(map[string]bool{"vm4": true, "vm3": true, "gone": true})
	if len(part.Nodes) != 3 || !part.Nodes[0].Group() || part.Nodes[1] != want.Nodes[want.find("vm3")] || part.Nodes[2] != want.Nodes[want.find("vm4")] {
		t.Errorf("the part of two vifs is %+v", part.Nodes)
	}
	for what, change := range map[string]func(*sluice.Allocations){
		"another group":  func(w *sluice.Allocations) { w.Group = "" },
		"a weight":       func(w *sluice.Allocations) { w.Tx.Weight = 7 },
		"no limit":       func(w *sluice.Allocations) { w.Tx.Limit = sluice.Unlimited },
		"a guarantee":    func(w *sluice.Allocations) { w.Tx.Guarantee = 1 },
		"another device": nil,
	} {
		v := s.VIFs["vm3"]
		if change == nil {
			v.Ifindex = 99
		} else {
			change(&v.Want)
		}
		next.VIFs["vm3"] = v
		if old.follows(next, of, a) {
			t.Errorf("%s is taken for another limit", what)
		}
	}
}
