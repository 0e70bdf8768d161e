package htb

import (
	"math"

	"sluice"
	"sluice/linux/tc"
)

const (
	// gsoFrame is the largest packet that segmentation offload makes, in bytes.
	gsoFrame = 64 << 10
	// mtu is a full frame of Ethernet as the kernel counts it, and leastFrame
	// the smallest, in bytes.
	mtu, leastFrame = 1514, 60
	// floor is the rate of a class without a guarantee, in byte/s: HTB knows
	// no class without one. A thousand of them are 8 Mbit/s.
	floor = 1000
	// boundless stands for no limit, in byte/s: 1 Tbit/s.
	boundless = 125_000_000_000
	// Among classes that may send, those of the least prio go first, and so they
	// do where they borrow: one that is never idle has all that is spare
	// (sch_htb.c, htb_dequeue).
	urgent, bulk = 0, 1
)

// bytesPerSecond is a rate as the kernel takes it.
func bytesPerSecond(r sluice.Rate) uint64 {
	if r == sluice.Unlimited {
		return boundless
	}
	return min(max(uint64(r)/8, 1), boundless)
}

// overhead is what a guarantee and the link count for every frame.
func (s State) overhead(d sluice.Direction) tc.Overhead {
	if s.Overhead == 0 || s.Capacity.Get(d) == sluice.Unlimited {
		return tc.Overhead{}
	}
	return tc.Overhead{Bytes: uint16(s.Overhead), Least: uint16(leastFrame + s.Overhead)}
}

// link is the root class, that all others borrow from. HTB adds the overhead
// once to a GSO frame of some 44, so the rate is less by what full frames take
// beyond their lengths: then the wire is never asked for more than it carries.
func (s State) link(d sluice.Direction) tc.HTB {
	over := s.overhead(d)
	r := bytesPerSecond(s.Capacity.Get(d))
	r = uint64(float64(r) * mtu / float64(mtu+int(over.Bytes)))
	return tc.HTB{Rate: r, Ceil: r, Burst: burst(r, 0), Cburst: burst(r, 0), RateOverhead: over, CeilOverhead: over}
}

// inner is a group's class. late is how long its round may come late, in ms.
// A guarantee is a part of the link, and counts what the wire does; a limit
// counts the frames.
func inner(a sluice.Allocation, late uint64, over tc.Overhead) tc.HTB {
	h := tc.HTB{Ceil: bytesPerSecond(a.Limit), RateOverhead: over}
	h.Rate = min(max(bytesPerSecond(a.Guarantee), floor), h.Ceil)
	h.Burst, h.Cburst = burst(h.Rate, 0), burst(h.Ceil, late)
	return h
}

// leaf is a vif's class.
func leaf(a sluice.Allocation, quantum uint32, late uint64, over tc.Overhead, demoted bool) tc.HTB {
	h := inner(a, late, over)
	h.Quantum, h.Prio = quantum, bulk
	if a.Priority > 0 && !demoted {
		h.Prio = urgent
	}
	return h
}

// leaving is the class of a vif that is let go: what waits in it is sent at once.
var leaving = leaf(sluice.Unshaped, gsoFrame, 0, tc.Overhead{}, false)

// burst is what a class may send at once after a pause, in bytes. It has to
// bridge the time by which the kernel's timers are late, and that until its
// round comes, or the class falls short of its rate; more would be a burst
// above the limit that a neighbour feels.
func burst(rate, late uint64) uint64 {
	const timers = 5 // ms
	return max(rate*(timers+late)/1000, 2*mtu)
}

// mostFrames is the largest quantum in frames.
const mostFrames = 16

// round is how long a class may wait while all others that are busy send
// their quanta, in ms. Were it 200, TCP would take it for a loss (RFC 6298 as
// Linux has it); half a round is what a request waits.
const round = 50

// scale makes quanta of weights: what classes send in one round of the spare
// rate.
type scale struct {
	weight float64 // whose quantum is one frame
	frame  float64 // bytes
}

// newScale gives the least of the busy classes' weights one frame, for HTB
// sends a whole one in any case, and less would not be respected. Below a 16th of
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
	for s.frame = min(rate/500, gsoFrame); s.frame*sum > rate*round/1000; {
		s.frame /= 2
	}
	s.frame = max(s.frame, 2*mtu)
	return s
}

func (s scale) quantum(weight float64) uint32 {
	return uint32(min(max(weight, s.weight)/s.weight, mostFrames) * s.frame)
}

// lateness is how long a class may wait while all others send their quanta,
// which are so many bytes together, in ms: one of few values, so that not
// every change is one of all classes.
func lateness(quanta, capacity uint64) uint64 {
	const most = 64
	late := uint64(0)
	for next := uint64(1); late*capacity < quanta*1000 && next <= most; next *= 2 {
		late = next
	}
	return late
}
