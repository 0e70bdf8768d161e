package linux

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice"
)

func grouped(group string, limit sluice.Rate) sluice.Allocations {
	a := sluice.UnshapedBoth
	a.Group, a.Tx.Limit, a.Rx.Limit = group, limit, limit
	return a
}

func (b *bench) must(v sluice.VIF, want sluice.Allocations) {
	b.Helper()
	if err := b.htb.Apply(context.Background(), v, want); err != nil {
		b.Fatal(err)
	}
}

// above are the classes over the vif's own, outermost first.
func (b *bench) above(index int) []uint16 {
	b.Helper()
	on, err := b.htb.attached(index)
	if err != nil || on.class == 0 {
		b.Fatal(on, err)
	}
	found, err := b.htb.above(on.class)
	if err != nil {
		b.Fatal(err)
	}
	return found
}

func (b *bench) classes() (n int) {
	b.Helper()
	for _, t := range b.htb.trees {
		if err := b.htb.tc.classes(t.ifindex, func(class) { n++ }); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// TestGroups puts a vif into groups, in one another, and out again, under
// load that loses nothing; a new driver takes them over as they are.
func TestGroups(t *testing.T) {
	b := newBench(t)
	index, err := b.htb.find(b.vif)
	if err != nil {
		t.Fatal(err)
	}
	gold, inner := sluice.GroupVIF("gold"), sluice.GroupVIF("inner")
	b.must(gold, grouped(sluice.HostGroup, 30*sluice.Mbit))
	b.must(inner, grouped("gold", 20*sluice.Mbit))
	b.must(b.vif, grouped("", sluice.Unlimited)) // the capacity is not known, so this is nothing
	b.apply(100*sluice.Mbit, 100*sluice.Mbit)
	before := b.classes()

	b.must(b.vif, grouped("inner", 100*sluice.Mbit))
	b.passes("tx in a group", b.vm, b.host, "192.0.2.1", 20e6*0.957)
	b.passes("rx in a group", b.host, b.vm, "192.0.2.2", 20e6*0.957)
	chain := b.above(index)
	if len(chain) != 2 {
		t.Fatalf("above the vif are %v\n%s", chain, b.run("tc", "class", "show", "dev", "sluice-tx"))
	}
	if got := b.classes(); got != before+4 {
		t.Errorf("%d classes, before %d: the old one has stayed", got, before)
	}
	b.must(inner, grouped("gold", 10*sluice.Mbit))
	b.passes("after the group's change", b.vm, b.host, "192.0.2.1", 10e6*0.957)

	// A new driver, told in the same order, changes nothing.
	was := b.shown()
	b.start()
	b.must(gold, grouped(sluice.HostGroup, 30*sluice.Mbit))
	b.must(inner, grouped("gold", 10*sluice.Mbit))
	b.must(b.vif, grouped("inner", 100*sluice.Mbit))
	if now := b.shown(); now != was {
		t.Errorf("the new driver changed the kernel:\n%s\nwas:\n%s", now, was)
	}
	if got := b.above(index); fmt.Sprint(got) != fmt.Sprint(chain) {
		t.Errorf("above the vif are %v, were %v", got, chain)
	}

	b.must(b.vif, grouped("gold", 100*sluice.Mbit))
	b.passes("in the outer group", b.vm, b.host, "192.0.2.1", 30e6*0.957)
	b.must(b.vif, grouped("", 40*sluice.Mbit))
	b.passes("out of groups", b.vm, b.host, "192.0.2.1", 40e6*0.957)
	if got := b.classes(); got != before {
		t.Errorf("%d classes are left, want %d", got, before)
	}
	if err := b.htb.Apply(context.Background(), b.vif, grouped("nobody", sluice.Mbit)); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a group that is not known: %v", err)
	}
	b.passes("after that", b.vm, b.host, "192.0.2.1", 40e6*0.957)
}

// TestQuanta divides a group's weight among its members, and what those have
// who are silent among the others.
func TestQuanta(t *testing.T) {
	weighted := func(group string, w int) sluice.Allocations {
		a := sluice.Allocation{Limit: sluice.Unlimited, Weight: w}
		return sluice.Allocations{Tx: a, Rx: a, Group: group}
	}
	h := &HTB{capacity: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit},
		groups: map[string]*group{"gold": {want: weighted(sluice.HostGroup, 200)}, "inner": {want: weighted("gold", 100)}},
		set: map[uint16]sluice.Allocations{
			16: weighted("", 100),
			32: weighted("gold", 300), 48: weighted("inner", 100), 64: weighted("inner", 100),
		}}
	got := h.rhythm(sluice.Tx).quanta
	// gold's 200 are 150 for the vif and 50 for inner, whose two have 25 each.
	for minor, want := range map[uint16]uint32{16: 4, 32: 6, 48: 1, 64: 1} {
		if got[minor] != want*gsoFrame {
			t.Errorf("class %d has a quantum of %d, want %d frames", minor, got[minor], want)
		}
	}
	// Who is silent has its part of all: of 200 the 300 of 400, and of those that inner has the half.
	for _, silent := range []struct {
		who  []uint16
		want map[uint16]float64
	}{
		{[]uint16{32}, map[uint16]float64{16: 1, 32: 1.5, 48: 1, 64: 1}},
		{[]uint16{64}, map[uint16]float64{16: 2, 32: 3, 48: 1, 64: .5}},
		{[]uint16{48, 64}, map[uint16]float64{16: 1, 32: 2, 48: .25, 64: .25}},
		{[]uint16{32, 48, 64}, map[uint16]float64{16: 1, 32: 1.5, 48: .25, 64: .25}},
	} {
		known := attention{bytes: make(map[uint16]uint64), seen: make(map[uint16]time.Time)}
		for minor := range h.set {
			if known.bytes[minor] = 0; !slices.Contains(silent.who, minor) {
				known.seen[minor] = time.Now()
			}
		}
		h.learnt = map[sluice.Direction]attention{sluice.Tx: known}
		got := h.rhythm(sluice.Tx).quanta
		for minor, want := range silent.want {
			if want := uint32(max(want, 1) * gsoFrame); got[minor] != want {
				t.Errorf("%v silent: class %d has a quantum of %d, want %d", silent.who, minor, got[minor], want)
			}
		}
	}
}

// TestBusy divides the link's time among those who use it, and lets priority
// count within the guarantee alone.
func TestBusy(t *testing.T) {
	h := &HTB{capacity: sluice.Capacity{Tx: 200 * sluice.Mbit, Rx: 200 * sluice.Mbit}, set: make(map[uint16]sluice.Allocations),
		learnt: make(map[sluice.Direction]attention), groups: make(map[string]*group)}
	for i := range uint16(200) {
		h.set[16*(i+1)] = sluice.UnshapedBoth
	}
	own := sluice.UnshapedBoth
	own.Tx.Guarantee, own.Tx.Priority = 10*sluice.Mbit, 1
	h.set[16] = own
	frame := func() uint32 { return h.rhythm(sluice.Tx).quanta[32] }
	if got := frame(); got != 6250 {
		t.Errorf("of 200 that may be busy each sends %d bytes in a round, want %d", got, 6250)
	}
	now, sent := time.Now(), make(map[uint16]uint64)
	look := func(bytes map[uint16]uint64) {
		now = now.Add(time.Second)
		stat := make(map[handle]stats)
		for minor, n := range bytes {
			sent[minor] += n
		}
		for minor := range h.set {
			stat[classHandle(minor)] = stats{bytes: sent[minor]}
		}
		h.heed(context.Background(), now, [2]map[handle]stats{stat, stat})
	}
	prio := func() uint32 { return h.leaf(sluice.Tx, 16, own, rhythm{}).prio }
	look(nil)
	look(map[uint16]uint64{16: 1_000_000, 32: 10_000_000})
	if got := frame(); got != 50000 {
		t.Errorf("of two that are busy each sends %d bytes in a round, want %d", got, 50000)
	}
	if prio() != urgent {
		t.Error("within its guarantee it has no priority")
	}
	look(map[uint16]uint64{16: 2_000_000})
	if prio() != bulk {
		t.Error("beyond its guarantee it has priority")
	}
	for range 11 {
		look(map[uint16]uint64{16: 1_000_000})
	}
	if prio() != urgent {
		t.Error("it does not get its priority back")
	}
}
