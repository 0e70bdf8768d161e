package linux

import (
	"context"
	"errors"
	"time"

	"sluice"
)

const (
	// remembered is how long a class counts as busy after it was last seen
	// so, and how long one that took more than its guarantee goes without its
	// priority: what changes the classes of all is to be rare.
	remembered = 10 * time.Second
	// tolerance is by how much a second's rate may exceed the guarantee, for a
	// burst that began in the second before.
	tolerance = 1.1
)

// attention is what the classes' counters taught about one direction.
type attention struct {
	at     time.Time            // of the last look
	bytes  map[uint16]uint64    // that each class had sent by then, by minor
	seen   map[uint16]time.Time // when each was last busy; nil before the second look
	beyond map[uint16]time.Time // when one with priority last took more than its guarantee
}

// heed learns from the counters, read a second or so after another, what HTB
// itself cannot do. Who is busy decides how long the others' turns may be; and
// HTB would let priority count for spare rate too, of which one VM could then
// take all.
func (h *HTB) heed(ctx context.Context, now time.Time, trees [2]map[handle]stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	turned := make(map[uint16]bool) // whose priority was taken or given back
	for i, d := range sluice.Directions {
		was := h.learnt[d]
		span := now.Sub(was.at).Seconds()
		is := attention{at: now, bytes: make(map[uint16]uint64, len(h.set)), seen: make(map[uint16]time.Time), beyond: make(map[uint16]time.Time)}
		even := float64(bytesPerSecond(h.capacity.Get(d))) / float64(max(len(h.set), 1))
		for minor, a := range h.set {
			s := trees[i][classHandle(minor)]
			is.bytes[minor] = s.bytes
			rate := 0.0
			if old, known := was.bytes[minor]; known && s.bytes >= old {
				rate = float64(s.bytes-old) / span
			}
			switch at, before := was.seen[minor]; {
			case s.backlog > 0 || rate > even/4:
				is.seen[minor] = now
			case before && now.Sub(at) < remembered:
				is.seen[minor] = at
			}
			at, demoted := was.beyond[minor]
			switch own := a.Get(d); {
			case own.Priority == 0:
			case rate > tolerance*float64(bytesPerSecond(own.Guarantee)):
				is.beyond[minor] = now
				turned[minor] = turned[minor] || !demoted
			case demoted && now.Sub(at) < remembered:
				is.beyond[minor] = at
			case demoted:
				turned[minor] = true
			}
		}
		if was.bytes == nil {
			is.seen = nil
		}
		h.learnt[d] = is
	}
	if h.trees == nil {
		return
	}
	var err error
	for index, c := range h.shaped {
		if err == nil && turned[c.minor()] {
			err = h.reshape(ctx, index)
		}
	}
	if err == nil {
		err = errors.Join(h.tune(), h.tighten())
	}
	if err != nil {
		h.log.Warn("the turns of the classes stay as they were until the next change", "error", err)
	}
}

// reshape has a device's classes become what they should be.
func (h *HTB) reshape(ctx context.Context, index int) error {
	on, err := h.attached(index)
	if err != nil || on.class == 0 || on.class != h.shaped[index] {
		return err
	}
	return h.shape(ctx, index, on, h.set[on.class.minor()])
}

// busy says whether a class is one of those whose turns the others wait for:
// all are until we know better.
func (h *HTB) busy(d sluice.Direction, minor uint16) bool {
	known := h.learnt[d]
	if len(known.seen) == 0 {
		return true
	}
	if _, looked := known.bytes[minor]; !looked {
		return true // it is new
	}
	_, ok := known.seen[minor]
	return ok
}

// leaf is what a vif's class in a direction is to be.
func (h *HTB) leaf(d sluice.Direction, minor uint16, a sluice.Allocations, r rhythm) params {
	p := leaf(a.Get(d), r.quanta[minor], r.late)
	if _, demoted := h.learnt[d].beyond[minor]; demoted {
		p.prio = bulk
	}
	return p
}

// inherit has a class be known for what another was, whose vif it is now.
func (h *HTB) inherit(heir, from uint16) {
	for _, known := range h.learnt {
		if at, ok := known.beyond[from]; ok {
			known.beyond[heir] = at
		}
	}
}
