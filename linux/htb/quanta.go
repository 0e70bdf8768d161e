package htb

import (
	"maps"
	"slices"

	"sluice"
)

// sharing is how the vifs of a direction share the spare rate. Classes that
// borrow are served in turn, each until it has sent its quantum (net/sched/sch_htb.c,
// htb_dequeue_tree: deficit round robin): quanta in proportion share it in proportion.
type sharing struct {
	quanta map[string]uint32 // what each sends in a round, in bytes, by key
	late   uint64            // how long one waits while the others do, in ms
}

// share divides the rounds. HTB serves a group for as long as all in it may
// send, so its weight is divided among those of its members that do. An idle
// member keeps its share of the whole, so that many that begin at once do not
// have more than the group until we know.
func (s State) share(d sluice.Direction, shaped map[string]VIF, a Activity) sharing {
	weight := func(group string) float64 { return float64(s.Groups[group].Get(d).Weight) }
	// sum adds up the weights of the members that count, by group.
	sum := func(counts func(key string) bool) (sums map[string]float64, counted map[string]bool) {
		sums, counted = make(map[string]float64), make(map[string]bool) // groups that are members themselves
		for key, v := range shaped {
			chain, _ := s.ancestors(v.Want.Group)
			w, more := float64(v.Want.Get(d).Weight), counts(key)
			for _, name := range chain {
				if !more {
					break
				}
				sums[name] += w
				more, counted[name] = !counted[name], true
				w = weight(name)
			}
		}
		return sums, counted
	}
	all, _ := sum(func(string) bool { return true })
	sending, counted := sum(a.busy)
	weights := make(map[string]float64, len(shaped))
	for key, v := range shaped {
		w, sends := float64(v.Want.Get(d).Weight), a.busy(key)
		chain, _ := s.ancestors(v.Want.Group)
		for _, name := range chain {
			if sends {
				w *= weight(name) / sending[name]
			} else {
				w *= weight(name) / all[name]
			}
			sends = counted[name]
		}
		weights[key] = w
	}
	var busy []float64
	for key, w := range weights {
		if a.busy(key) {
			busy = append(busy, w)
		}
	}
	if len(busy) == 0 {
		busy = slices.Collect(maps.Values(weights))
	}
	slices.Sort(busy) // a sum of floats must not depend on the order of a map
	scale := newScale(busy, s.Capacity.Get(d))
	out, total := sharing{quanta: make(map[string]uint32, len(weights))}, uint64(0)
	for key, w := range weights {
		out.quanta[key] = scale.quantum(w)
		if a.busy(key) {
			total += uint64(out.quanta[key])
		}
	}
	out.late = lateness(total, bytesPerSecond(s.Capacity.Get(d)))
	return out
}
