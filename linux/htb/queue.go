package htb

import "sluice/linux/tc"

// Queue is what is to wait in a leaf class: an fq_codel where the kernel has
// it, else a FIFO of bytes. FIFOs of packets would hold as many GSO frames.
type Queue struct {
	Fair  tc.FQCodel
	Plain tc.FIFO
}

const (
	// A full frame takes 2,304 bytes of the kernel's memory, a GSO frame with
	// its pages about 70 KB.
	frameMemory = 2304
	gsoMemory   = 70 << 10
)

// newQueue is for a class of the rate, in byte/s, whose round may come so many
// ms late.
func newQueue(rate, late uint64) Queue {
	return Queue{newCodel(rate, late), newFIFO(rate)}
}

// newFIFO has about 15 ms of the rate wait, and two GSO frames at least: one
// that does not fit is lost whole, and UDP in batches (UDP_SEGMENT) sends
// nothing else.
func newFIFO(rate uint64) tc.FIFO {
	const most = 32 << 20
	return tc.FIFO{Bytes: uint32(min(max(rate*15/1000, 2*(gsoFrame+mtu)), most))}
}

func newCodel(rate, late uint64) tc.FQCodel {
	us := func(bytes uint64) uint64 { return bytes * 1e6 / rate }
	// 5 ms are RFC 8289's. It must be more than what passes between one packet
	// and the next: one frame and a half of the wire's, or of TCP's where that
	// is not long, or the wait while other classes send.
	target := max(5e3, us(mtu*3/2), min(us(gsoFrame*3/2), 15e3), late*1e3)
	return tc.FQCodel{
		Target: uint32(target),
		// A round trip through the world, and what the target is more than RFC 8289's.
		Interval: uint32(95e3 + target),
		Limit:    10 << 10, // the kernel's own; the memory is less, but of the smallest packets of the fastest vifs
		// A flood that respects no loss has 50 ms of memory, some 30 ms of
		// frames, and four GSO frames at least: less loses batches of UDP whole.
		Memory:  uint32(min(max(rate/20, 4*gsoMemory), 32<<20)),
		Quantum: mtu,
		Flows:   256, // 17 KB: there may be 2,000 of us; the kernel's own 1,024 would be 140 MB
		ECN:     1,
	}
}

// ownQueue says whether a class's queue is one of ours. Another program's on our
// tree may hold frames back or lose them.
func ownQueue(q tc.Qdisc, class uint16) bool {
	return (q.Kind == tc.FIFOKind || q.Kind == tc.FQCodelKind) && (q.Handle == 0 || q.Handle == queueHandle(class))
}

// fits is the queue to set now in place of the one that is there: of its
// kind, and never so small that what waits would be dropped. It returns nil
// where none is needed. later is true where
// it could be smaller once less waits.
func (q Queue) fits(have tc.Qdisc) (set tc.Queue, later bool) {
	switch have.Kind {
	case tc.FIFOKind: // it lets nothing in until there is room
		if have.FIFO != q.Plain {
			return q.Plain, false
		}
	case tc.FQCodelKind:
		want := q.Fair
		if have.Stats.Memory > want.Memory {
			want.Memory, later = have.FQCodel.Memory, true
		}
		if !sameCodel(have.FQCodel, want) {
			return want, later
		}
	}
	return nil, later
}

// sameCodel allows for the kernel's unit of time, 1,024 ns. The number of
// flows is that of whoever made it.
func sameCodel(have, want tc.FQCodel) bool {
	near := func(is, want uint32) bool { return is <= want && want-is <= 2 }
	return near(have.Target, want.Target) && near(have.Interval, want.Interval) &&
		have.Limit == want.Limit && have.Memory == want.Memory && have.Quantum == want.Quantum && have.ECN == want.ECN
}
