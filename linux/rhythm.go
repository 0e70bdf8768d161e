package linux

import (
	"maps"
	"slices"

	"sluice"
)

// rhythm is how the leaves of a direction share the spare rate.
type rhythm struct {
	quanta map[uint16]uint32 // what each sends in a round, by minor
	late   uint64            // how long one waits while the others do, in ms
}

// rhythm makes it of what is set. HTB serves a group for as long as all in it
// may send, so its weight is divided among those of its members that do. One
// that does not has its part of all, so that many who begin at once do not
// have more than the group until we know.
func (h *HTB) rhythm(d sluice.Direction) rhythm {
	weight := func(name string) float64 { return float64(h.groups[name].want.Get(d).Weight) }
	// sum adds up the weights of the members that count, by group.
	sum := func(counts func(minor uint16) bool) (sums map[string]float64, counted map[string]bool) {
		sums, counted = make(map[string]float64), make(map[string]bool) // groups that are members themselves
		for minor, a := range h.set {
			name, w := a.Group, float64(a.Get(d).Weight)
			for more := counts(minor); more && h.groups[name] != nil; name = h.groups[name].want.Group {
				sums[name] += w
				more, counted[name] = !counted[name], true
				w = weight(name)
			}
		}
		return sums, counted
	}
	all, _ := sum(func(uint16) bool { return true })
	sending, counted := sum(func(minor uint16) bool { return h.busy(d, minor) })
	weights := make(map[uint16]float64, len(h.set))
	for minor, a := range h.set {
		w, sends := float64(a.Get(d).Weight), h.busy(d, minor)
		for name := a.Group; h.groups[name] != nil; name = h.groups[name].want.Group {
			if sends {
				w *= weight(name) / sending[name]
			} else {
				w *= weight(name) / all[name]
			}
			sends = counted[name]
		}
		weights[minor] = w
	}
	var busy []float64
	round := uint64(0)
	for minor, w := range weights {
		if h.busy(d, minor) {
			busy = append(busy, w)
		}
	}
	if len(busy) == 0 {
		busy = slices.Collect(maps.Values(weights))
	}
	s := newScale(busy, h.capacity.Get(d))
	r := rhythm{quanta: make(map[uint16]uint32, len(weights))}
	for minor, w := range weights {
		r.quanta[minor] = s.quantum(w)
		if h.busy(d, minor) {
			round += uint64(r.quanta[minor])
		}
	}
	r.late = lateness(round, bytesPerSecond(h.capacity.Get(d)))
	return r
}

// tune gives every leaf its quantum, where another's weight, a group's or the
// capacity has changed it. A class that a daemon before us left keeps its own
// until its vif is applied.
func (h *HTB) tune() error {
	for d, t := range h.trees {
		now, old := h.rhythm(d), h.tuned[d]
		for minor, a := range h.set {
			if old.late == now.late && old.quanta[minor] == now.quanta[minor] {
				continue
			}
			if err := h.put(t, classHandle(minor), h.branch(a.Group), h.leaf(d, minor, a, now)); err != nil {
				return err
			}
			if old.late == now.late || h.plain {
				continue
			}
			if err := h.putQueue(t, classHandle(minor), a.Get(d), now.late); err != nil {
				return err
			}
		}
		for _, g := range h.groups {
			if g.minor == 0 || old.late == now.late {
				continue
			}
			if err := h.put(t, classHandle(g.minor), h.branch(g.want.Group), inner(g.want.Get(d), now.late)); err != nil {
				return err
			}
		}
		h.tuned[d] = now
	}
	return nil
}
