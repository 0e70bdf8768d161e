package htb

import (
	"testing"

	"sluice"
	"sluice/linux/tc"
)

// TestDiff reads as the steps from a kernel that has one state to another.
func TestDiff(t *testing.T) {
	type set = map[string]sluice.Allocations
	limit := func(r sluice.Rate) sluice.Allocations { return alloc(r, 0, 100, 0, "") }
	two := state(gbit, set{"a": alloc(100*mbit, 10*mbit, 100, 0, ""), "b": limit(50 * mbit)}, nil)
	prio := state(gbit, set{"a": alloc(100*mbit, 10*mbit, 100, 1, ""), "b": limit(50 * mbit)}, nil)
	gold := func(guarantee sluice.Rate) State {
		return state(gbit, set{"a": alloc(100*mbit, 0, 100, 0, "gold"), "b": alloc(50*mbit, 0, 100, 0, "gold")},
			set{"gold": alloc(none, guarantee, 100, 0, sluice.HostGroup)})
	}
	free := state(gbit, nil, nil)
	waits := func(minors ...uint16) func(*model) {
		return func(m *model) {
			for _, minor := range minors {
				c := m.Classes[minor]
				c.Stats.Backlog = 3000
				m.Classes[minor] = c
			}
		}
	}
	owes := func(minor uint16) func(*model) {
		return func(m *model) {
			c := m.Classes[minor]
			c.Stats.Tokens = -10e6 // 640 ms
			m.Classes[minor] = c
		}
	}
	names, texts := []string{}, map[string]string{}
	for _, c := range []struct {
		name     string
		from, to State
		then     func(*model) // what happens in between
	}{
		{"from nothing", free, two, nil},
		{"nothing to do", two, two, nil},
		{"a live change", two, state(gbit, set{"a": alloc(200*mbit, 10*mbit, 100, 0, ""), "b": limit(50 * mbit)}, nil), waits(0x10)},
		{"the capacity", two, state(2*gbit, set{"a": alloc(100*mbit, 10*mbit, 100, 0, ""), "b": limit(50 * mbit)}, nil), nil},
		{"another priority while nothing waits", two, prio, nil},
		{"another priority while frames wait", two, prio, waits(0x10)},
		{"a greater guarantee while the class has tokens", two, state(gbit, set{"a": alloc(100*mbit, 20*mbit, 100, 0, ""), "b": limit(50 * mbit)}, nil), nil},
		{"a greater guarantee while the class owes 640 ms", two, state(gbit, set{"a": alloc(100*mbit, 20*mbit, 100, 0, ""), "b": limit(50 * mbit)}, nil), owes(0x10)},
		{"into a group", two, gold(0), nil},
		{"a group's guarantee", gold(10 * mbit), gold(20 * mbit), nil},
		{"a group's guarantee while its class owes 640 ms: the members go along", gold(10 * mbit), gold(20 * mbit), owes(0x10)},
		{"a vif goes", two, state(gbit, set{"a": alloc(100*mbit, 10*mbit, 100, 0, "")}, nil), nil},
		{"a vif goes while frames wait", two, state(gbit, set{"a": alloc(100*mbit, 10*mbit, 100, 0, "")}, nil), waits(0x11)},
		{"all go", gold(10 * mbit), free, nil},
		{"the device was made again", two, func() State {
			s := state(gbit, set{"a": alloc(100*mbit, 10*mbit, 100, 0, ""), "b": limit(50 * mbit)}, nil)
			s.VIFs["b"] = VIF{99, s.VIFs["b"].Want}
			return s
		}(), func(m *model) { delete(m.Hooks, 11) }},
		{"the IFB has gone", two, two, func(m *model) {
			m.IFB, m.Up, m.HTB, m.Classifier = 0, false, false, false
			for index, h := range m.Hooks {
				h.Current = false
				m.Hooks[index] = h
			}
		}},
		{"the IFB is down", two, two, func(m *model) { m.Up = false }},
		{"frames are taken from the IFB", two, two, func(m *model) { m.Taken = true }},
		{"the HTB has gone", two, two, func(m *model) { m.HTB, m.Classifier = false, false }},
		{"the classifier has gone", two, two, func(m *model) { m.Classifier = false }},
		{"the IFB has gone, and nothing is wanted", two, free, func(m *model) {
			m.IFB, m.Up, m.HTB, m.Classifier = 0, false, false, false
		}},
		{"a class was changed by another program", two, two, func(m *model) {
			c := m.Classes[0x11]
			c.Ceil *= 2
			m.Classes[0x11] = c
		}},
		{"a class was deleted by another program", two, two, func(m *model) { delete(m.Classes, 0x11); delete(m.Queues, 0x11) }},
		{"a queue was changed by another program", two, two, func(m *model) {
			q := m.Queues[0x11]
			q.FQCodel.Target *= 2
			m.Queues[0x11] = q
		}},
		{"a queue of another program's kind", two, two, func(m *model) { m.Queues[0x11] = tc.Qdisc{Kind: "sfq"} }},
		{"a line of the map has gone", two, two, func(m *model) { delete(m.Map, 11) }},
		{"a filter has gone", two, two, func(m *model) { m.Hooks[11] = Hook{Clsact: true} }},
		{"an ingress qdisc of another program", free, two, func(m *model) { m.Hooks[10] = Hook{Ingress: true} }},
		{"the older arrangement, whose filters name the class", two, two, func(m *model) {
			m.Classifier, m.Map = false, map[int]Entry{}
			m.Hooks = map[int]Hook{10: {Clsact: true, Ours: true, Made: true, Class: 0x11}, 11: {Clsact: true, Ours: true, Made: true, Class: 0x10}}
			m.Classes[0x10], m.Classes[0x11] = rename(m.Classes[0x11], 0x10), rename(m.Classes[0x10], 0x11)
			m.Queues[0x10], m.Queues[0x11] = m.Queues[0x11], m.Queues[0x10]
		}},
	} {
		names = append(names, c.name)
		m := emptyKernel()
		if _, err := m.become(Plan(c.from, sluice.Tx, Activity{})); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.then != nil {
			c.then(m)
		}
		did, err := m.become(Plan(c.to, sluice.Tx, Activity{}))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		texts[c.name] = opsText(did)
	}
	golden(t, "testdata/diff.txt", names, texts)
}

func rename(c tc.Class, minor uint16) tc.Class {
	c.Handle = handleOf(minor)
	return c
}
