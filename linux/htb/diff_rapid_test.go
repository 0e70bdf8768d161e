package htb

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice"
)

// anyState draws what may be set, for tx.
func anyState(t *rapid.T) State {
	rates := []sluice.Rate{sluice.MinLimit, 10 * mbit, 100 * mbit, gbit, 40 * gbit, none}
	s := State{Capacity: sluice.Capacity{Tx: rapid.SampledFrom(rates[2:]).Draw(t, "capacity"), Rx: none},
		Overhead: rapid.SampledFrom([]int{0, Ethernet}).Draw(t, "overhead"), Groups: map[string]sluice.Allocations{}, VIFs: map[string]VIF{}}
	one := func(group string) sluice.Allocations {
		limit := rapid.SampledFrom(rates).Draw(t, "limit")
		guarantee := min(limit, rapid.SampledFrom([]sluice.Rate{0, 0, mbit, 50 * mbit}).Draw(t, "guarantee"))
		priority := 0
		if guarantee > 0 {
			priority = rapid.IntRange(0, 1).Draw(t, "priority")
		}
		return alloc(limit, guarantee, rapid.SampledFrom([]int{1, 100, 10_000}).Draw(t, "weight"), priority, group)
	}
	in := []string{""} // groups that a vif may be in
	for i := range rapid.IntRange(0, sluice.MaxDepth).Draw(t, "groups") {
		name := fmt.Sprint("g", i)
		parent := rapid.SampledFrom(in).Draw(t, "parent")
		if parent == "" {
			parent = sluice.HostGroup
		}
		s.Groups[name] = one(parent)
		in = append(in, name)
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "vifs") {
		s.VIFs[fmt.Sprint("vm", i, "/0")] = VIF{10 + i, one(rapid.SampledFrom(append(in, "unknown")).Draw(t, "group"))}
	}
	return s
}

func anyActivity(t *rapid.T, s State) Activity {
	if rapid.Bool().Draw(t, "nothing seen") {
		return Activity{}
	}
	now := time.Now()
	a := Activity{At: now, Bytes: map[string]uint64{}, Seen: map[string]time.Time{}, Beyond: map[string]time.Time{}}
	for _, key := range slices.Sorted(maps.Keys(s.VIFs)) {
		a.Bytes[key] = 1
		if rapid.Bool().Draw(t, "busy") {
			a.Seen[key] = now
		}
		if rapid.Bool().Draw(t, "beyond") {
			a.Beyond[key] = now
		}
	}
	return a
}

// disturb does to a kernel what traffic and other programs do.
func disturb(t *rapid.T, m *model) {
	of := func(minors []uint16) (uint16, bool) {
		slices.Sort(minors)
		if len(minors) == 0 {
			return 0, false
		}
		return rapid.SampledFrom(minors).Draw(t, "class"), true
	}
	for range rapid.IntRange(0, 6).Draw(t, "disturbances") {
		minor, _ := of(slices.Collect(maps.Keys(m.Classes)))
		c, there := m.Classes[minor]
		index := rapid.IntRange(10, 16).Draw(t, "device")
		switch rapid.IntRange(0, 13).Draw(t, "disturbance") {
		case 0, 1: // frames wait
			if there && c.Leaf() && minor != rootMinor && m.Up {
				c.Stats.Backlog = 3000
				m.Classes[minor] = c
				if q, ok := m.Queues[minor]; ok {
					q.Stats.Memory = q.FQCodel.Memory
					m.Queues[minor] = q
				}
			}
		case 2:
			if there {
				c.Stats.Tokens = -1 << 30
				m.Classes[minor] = c
			}
		case 3:
			if there {
				c.Rate, c.Quantum = c.Rate*2+1, c.Quantum+1
				m.Classes[minor] = c
			}
		case 4, 5: // with what waited
			if there && m.children(minor) == 0 {
				c.Stats.Backlog = 0
				m.Classes[minor] = c
				// Whoever deletes a class does not ask the map.
				lines := maps.Clone(m.Map)
				maps.DeleteFunc(m.Map, func(_ int, e Entry) bool { return e.Minor == minor })
				if err := m.apply(Op{Do: DeleteClass, Minor: minor}); err != nil {
					t.Fatal(err)
				}
				m.Map = lines
			}
		case 6:
			delete(m.Map, index)
		case 7:
			m.Map[index] = Entry{uint16(rapid.IntRange(1, 0x20).Draw(t, "minor")), false}
		case 8:
			m.Hooks[index] = rapid.SampledFrom([]Hook{{}, {Clsact: true, Others: true}, {Clsact: true, Ours: true}, {Ingress: true},
				{Clsact: true, Ours: true, Class: 0x10}, {Clsact: true, Ours: true, Class: 0x11}}).Draw(t, "hook")
		case 9:
			m.Up = false
		case 10:
			m.Classifier = false
		case 11:
			m.IFB, m.Up = 0, false
		case 12:
			m.HTB, m.Classifier = false, false
		case 13:
			o := Op{Do: MakeClass, Minor: uint16(rapid.IntRange(0x10, 0x30).Draw(t, "minor")), Parent: minor, Class: leaving}
			if there {
				_ = m.apply(o) // or there is one, or frames wait in the parent
			}
		}
		if !m.Up { // the kernel empties the queues of a device that goes down
			m.drain(slices.Collect(maps.Keys(m.Classes)))
		}
		if m.IFB == 0 || !m.HTB {
			m.HTB, m.Classifier = false, false
			clear(m.Classes)
			clear(m.Queues)
		}
		for index, h := range m.Hooks {
			h.Current = h.Current && m.IFB != 0
			m.Hooks[index] = h
		}
	}
}

// TestDiffReaches: from whatever a kernel has, the steps lead to what is
// wanted, and the kernel refuses none of them: see [model]. Nothing is left to
// do then, and every vif's frames pass the class that it is to have.
func TestDiffReaches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := emptyKernel()
		m.Plain = rapid.Bool().Draw(t, "plain")
		before := anyState(t)
		if _, err := m.become(Plan(before, sluice.Tx, anyActivity(t, before))); err != nil {
			t.Fatalf("from nothing: %v", err)
		}
		disturb(t, m)
		after := anyState(t)
		want := Plan(after, sluice.Tx, anyActivity(t, after))
		did, err := m.become(want)
		if err != nil {
			t.Fatalf("%v\nwanted:\n%sdone:\n%s", err, treeText(want), opsText(did))
		}
		at := Diff(m.snapshot(), want).At
		leads := map[int]bool{}
		for _, n := range want.Nodes {
			c := m.Classes[at[n.Name]]
			if !c.Is(n.Class) || c.Parent.Minor() != at[n.Parent] {
				t.Fatalf("%s has %+v under %x", n.Name, c, at[n.Parent])
			}
			if n.Group() {
				continue
			}
			leads[n.Ifindex] = true
			if h := m.Hooks[n.Ifindex]; m.Map[n.Ifindex] != (Entry{at[n.Name], n.Local}) || !h.Current && !h.Ingress {
				t.Fatalf("%s: the map says %+v, the hook %+v", n.Name, m.Map[n.Ifindex], h)
			}
		}
		for index, h := range m.Hooks {
			if h.Ours && !leads[index] {
				t.Fatalf("device %d is redirected still", index)
			}
		}
		for index, e := range m.Map {
			if c, ok := m.Classes[e.Minor]; !leads[index] || !ok || c.Handle != handleOf(e.Minor) {
				t.Fatalf("device %d is led to %x still", index, e.Minor)
			}
		}
		if extra := len(m.Classes) - len(want.Nodes); extra > 1 {
			t.Fatalf("%d classes too many:\n%s", extra, treeText(want))
		}
	})
}
