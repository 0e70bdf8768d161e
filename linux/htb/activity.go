package htb

import (
	"time"

	"sluice"
	"sluice/linux/tc"
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

// Activity is what the classes' counters taught about one direction. The zero
// value knows nothing, and takes all to be busy.
type Activity struct {
	At     time.Time            // when the counters were read last
	Bytes  map[string]uint64    // that each vif's class had sent by then, by key
	Seen   map[string]time.Time // when each was last busy; nil before the second reading
	Beyond map[string]time.Time // when one with priority last took more than its guarantee
	// Changed is when a plan made of it was last another: somebody has become
	// busy or idle, or has gained or lost its priority.
	Changed time.Time
}

// observe learns from the counters, read a second or so after the last, what
// HTB itself cannot do. Who is busy decides how long the others' rounds may be;
// and HTB would let priority count for spare rate too, of which one VM could
// then take all.
func (s State) observe(d sluice.Direction, shaped map[string]VIF, was Activity, now time.Time, counters func(key string) (tc.Stats, bool)) Activity {
	is := Activity{At: now, Bytes: make(map[string]uint64, len(shaped)), Seen: make(map[string]time.Time), Beyond: make(map[string]time.Time)}
	span := now.Sub(was.At).Seconds()
	even := float64(bytesPerSecond(s.Capacity.Get(d))) / float64(max(len(shaped), 1))
	for key, v := range shaped {
		c, ok := counters(key)
		if !ok {
			continue
		}
		is.Bytes[key] = c.Bytes
		rate := 0.0
		if old, known := was.Bytes[key]; known && c.Bytes >= old {
			rate = float64(c.Bytes-old) / span
		}
		switch at, before := was.Seen[key]; {
		case c.Backlog > 0 || rate > even/4:
			is.Seen[key] = now
		case before && now.Sub(at) < remembered:
			is.Seen[key] = at
		}
		at, demoted := was.Beyond[key]
		switch own := v.Want.Get(d); {
		case own.Priority == 0:
		case rate > tolerance*float64(bytesPerSecond(own.Guarantee)):
			is.Beyond[key] = now
		case demoted && now.Sub(at) < remembered:
			is.Beyond[key] = at
		}
	}
	if was.Bytes == nil {
		is.Seen = nil
	}
	if is.Changed = was.Changed; !is.plansAs(was) {
		is.Changed = now
	}
	return is
}

// plansAs says whether a plan made of either is the same.
func (a Activity) plansAs(b Activity) bool {
	if len(a.Bytes) != len(b.Bytes) || len(a.Beyond) != len(b.Beyond) {
		return false
	}
	for key := range a.Bytes {
		_, demoted := a.Beyond[key]
		_, before := b.Beyond[key]
		if a.busy(key) != b.busy(key) || demoted != before {
			return false
		}
	}
	return true
}

// busy says whether a vif is one of those whose rounds the others wait for:
// all are until we know better.
func (a Activity) busy(key string) bool {
	if len(a.Seen) == 0 {
		return true
	}
	if _, looked := a.Bytes[key]; !looked {
		return true // it is new
	}
	_, ok := a.Seen[key]
	return ok
}
