package monitor

import (
	"math"
	"testing"
	"time"

	"sluice"
)

func TestMeter(t *testing.T) {
	const mb = 1_000_000
	for _, c := range []struct {
		name          string
		was, now      sluice.HostCounters
		elapsed       time.Duration
		ok            bool
		usage, demand sluice.Rate
	}{
		{"steady", tx(mb), tx(2 * mb), time.Second, true, 8 * mb, 8 * mb},
		{"three seconds missed", tx(mb), tx(5 * mb), 4 * time.Second, true, 8 * mb, 8 * mb},
		{"wrap at 2^64", tx(math.MaxUint64 - mb + 1), tx(0), time.Second, true, 8 * mb, 8 * mb},
		{"reset", tx(5_000 * mb), tx(mb), time.Second, false, 0, 0},
		{"another device of that name", tx(mb), sluice.HostCounters{Epoch: 9, Tx: sluice.Counters{Bytes: 900 * mb}}, time.Second, false, 0, 0},
		{"no time passed", tx(mb), tx(2 * mb), 0, false, 0, 0},
		{"clock went back", tx(mb), tx(2 * mb), -time.Second, false, 0, 0},
		{"offered more than passed", tx(0), sluice.HostCounters{Tx: sluice.Counters{Bytes: mb}, TxOffered: 3 * mb}, time.Second, true, 8 * mb, 24 * mb},
		{"offered went back", sluice.HostCounters{TxOffered: 9 * mb}, tx(mb), time.Second, true, 8 * mb, 8 * mb},
		{"backlog", tx(0), sluice.HostCounters{Tx: sluice.Counters{Bytes: mb}, TxBacklog: mb}, time.Second, true, 8 * mb, 16 * mb},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m meter
			start := time.Now()
			if _, _, _, ok := m.read(start, c.was); ok {
				t.Error("the first reading measured something")
			}
			f, _, _, ok := m.read(start.Add(c.elapsed), c.now)
			if ok != c.ok || f.usage != c.usage || f.demand != c.demand {
				t.Errorf("got usage %s, demand %s, %v; want %s, %s, %v", f.usage, f.demand, ok, c.usage, c.demand, c.ok)
			}
		})
	}
}

func tx(bytes uint64) sluice.HostCounters {
	return sluice.HostCounters{Tx: sluice.Counters{Bytes: bytes}}
}
