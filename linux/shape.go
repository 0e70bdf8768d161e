package linux

import (
	"math"

	"sluice"
)

// gsoFrame is the largest packet TCP segmentation offload makes.
const gsoFrame = 64 << 10

const (
	// floor is the rate of a class without a guarantee, in byte/s: HTB knows
	// no class without one. A thousand of them are 8 Mbit/s.
	floor = 1000
	// boundless stands for no limit, in byte/s: 1 Tbit/s.
	boundless = 125_000_000_000

	mtu = 1514

	urgent, bulk = 0, 1 // HTB serves 0 first
)

// bytesPerSecond is a rate as the kernel takes it.
func bytesPerSecond(r sluice.Rate) uint64 {
	if r == sluice.Unlimited {
		return boundless
	}
	return min(max(uint64(r)/8, 1), boundless)
}

// leaf is the class of a vif's allocation, whose turn may come so late, in
// milliseconds, and then is for a quantum.
func leaf(a sluice.Allocation, quantum uint32, late uint64) params {
	p := inner(a, late)
	p.quantum, p.prio = quantum, bulk
	if a.Priority > 0 {
		p.prio = urgent
	}
	return p
}

// inner is the class of a group's.
func inner(a sluice.Allocation, late uint64) params {
	p := params{ceil: bytesPerSecond(a.Limit)}
	p.rate = min(max(bytesPerSecond(a.Guarantee), floor), p.ceil)
	p.burst, p.cburst = burst(p.rate, 0), burst(p.ceil, late)
	return p
}

// trunk is the class that all leaves borrow from.
func trunk(capacity sluice.Rate) params {
	r := bytesPerSecond(capacity)
	return params{rate: r, ceil: r, burst: burst(r, 0), cburst: burst(r, 0)}
}

// mostFrames is the largest quantum in frames.
const mostFrames = 16

// turn is how long a class may wait while all others that are busy send
// theirs, in ms. Were it 200, TCP would take it for a loss (RFC 6298 as Linux
// has it); half a turn is what a request waits.
const turn = 50

// scale makes quanta of weights: what classes send in one round of the spare
// rate.
type scale struct {
	weight float64 // whose quantum is one frame
	frame  float64 // bytes
}

// newScale gives the least of the busy classes' weights one frame, for HTB
// sends a whole one in any case, and less would not be heeded. Below a 16th of
// the greatest weight all are alike, or the greatest would keep the others
// waiting. Frames are what TCP makes at the link's rate, a millisecond's worth
// or two; where many share it each one's are smaller, by half or a quarter and
// so on, so that not every change is one of all classes.
func newScale(busy []float64, capacity sluice.Rate) scale {
	s := scale{weight: math.Inf(1)}
	most, sum := 0.0, 0.0
	for _, w := range busy {
		s.weight, most = min(s.weight, w), max(most, w)
	}
	s.weight = max(s.weight, most/mostFrames)
	for _, w := range busy {
		sum += max(w, s.weight) / s.weight
	}
	rate := float64(bytesPerSecond(capacity))
	for s.frame = min(rate/500, gsoFrame); s.frame*sum > rate*turn/1000; {
		s.frame /= 2
	}
	s.frame = max(s.frame, 2*mtu)
	return s
}

func (s scale) quantum(weight float64) uint32 {
	return uint32(min(max(weight, s.weight)/s.weight, mostFrames) * s.frame)
}

// burst is what a class may send at once after a pause. It has to bridge the
// time by which the kernel's timers are late, and that until its turn comes,
// or the class falls short of its rate; more would be a burst above the limit
// that a neighbour feels.
func burst(rate, late uint64) uint64 {
	const timers = 5 // ms
	return max(rate*(timers+late)/1000, 2*mtu)
}

// lateness is how long a class may wait while all others have their turns, in
// milliseconds: one of few values, so that not every change is one of all classes.
func lateness(round, capacity uint64) uint64 {
	const most = 64
	late := uint64(0)
	for next := uint64(1); late*capacity < round*1000 && next <= most; next *= 2 {
		late = next
	}
	return late
}
