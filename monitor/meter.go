package monitor

import (
	"time"

	"sluice"
)

// meter turns one vif's totals into what passed between two readings.
type meter struct {
	at   time.Time // with its monotonic reading, so that no clock step matters
	last sluice.HostCounters
	ok   bool // last holds something
}

// flow is what one direction did between two readings.
type flow struct {
	passed, offered uint64 // bytes
	usage, demand   sluice.Rate
	drops           uint64 // packets that did not fit the queue
}

// read takes in the totals at a moment. It reports false where there is
// nothing to compare with: at first, after a reset, or when the same name is
// another device now. A wrong measurement is worse than none.
func (m *meter) read(at time.Time, now sluice.HostCounters) (tx, rx flow, elapsed time.Duration, ok bool) {
	was := *m
	*m = meter{at, now, true}
	elapsed = at.Sub(was.at)
	if !was.ok || was.last.Epoch != now.Epoch || elapsed <= 0 {
		return flow{}, flow{}, 0, false
	}
	tx, okTx := between(was.last.Tx.Bytes, now.Tx.Bytes, was.last.TxOffered, now.TxOffered, now.TxBacklog, elapsed)
	rx, okRx := between(was.last.Rx.Bytes, now.Rx.Bytes, was.last.RxOffered, now.RxOffered, now.RxBacklog, elapsed)
	if !okTx || !okRx {
		return flow{}, flow{}, 0, false
	}
	tx.drops, rx.drops = dropped(was.last.Tx, now.Tx), dropped(was.last.Rx, now.Rx)
	return tx, rx, elapsed, true
}

func between(was, now, offeredWas, offeredNow, backlog uint64, elapsed time.Duration) (flow, bool) {
	// Unsigned subtraction carries over a wrap at 2^64. A total that went
	// back instead shows as more than any link carries.
	f := flow{passed: now - was, offered: offeredNow - offeredWas}
	usage, ok := rate(f.passed, elapsed)
	if !ok {
		return flow{}, false
	}
	offered, ok := rate(f.offered, elapsed)
	if !ok {
		f.offered, offered = 0, 0
	}
	f.offered = max(f.offered, f.passed)
	f.usage, f.demand = usage, max(usage, offered)
	// What waits would have passed too, had it been let.
	if waiting, ok := rate(backlog, elapsed); ok {
		f.demand = max(f.demand, min(usage+waiting, sluice.MaxRate))
	}
	return f, true
}

// dropped is how many packets were dropped between two readings; 0 where the
// total went back.
func dropped(was, now sluice.Counters) uint64 {
	if now.Dropped < was.Dropped {
		return 0
	}
	return now.Dropped - was.Dropped
}

// rate is bytes over a time in bit/s; false above [sluice.MaxRate], which no link carries.
func rate(bytes uint64, over time.Duration) (sluice.Rate, bool) {
	r := float64(bytes) * 8 / over.Seconds()
	if !(r <= float64(sluice.MaxRate)) {
		return 0, false
	}
	return sluice.Rate(r), true
}
