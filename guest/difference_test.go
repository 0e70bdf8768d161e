package guest

import (
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"

	"sluice"
)

// Whatever counters do, a sample says what passed or nothing, never a spike.
func TestPassed(t *testing.T) {
	count := func(bytes, packets, dropped uint64) sluice.Counters {
		return sluice.Counters{Bytes: bytes, Packets: packets, Dropped: dropped}
	}
	const end32, end64 = 1 << 32, math.MaxUint64
	for _, c := range []struct {
		name           string
		from, to, want sluice.Counters
		ok             bool
	}{
		{"nothing", count(5, 1, 0), count(5, 1, 0), count(0, 0, 0), true},
		{"forward", count(1000, 10, 1), count(4000, 12, 3), count(3000, 2, 2), true},
		{"bytes wrap at 32 bits", count(end32-1000, 10, 0), count(500, 11, 0), count(1500, 1, 0), true},
		{"bytes wrap at 32 bits to 0", count(end32-1, 10, 0), count(0, 11, 0), count(1, 1, 0), false}, // a packet of 1 byte
		{"bytes wrap at 64 bits", count(end64-999, 10, 0), count(500, 12, 0), count(1500, 2, 0), true},
		{"packets wrap at 32 bits", count(7e12, end32-1, 0), count(7e12+3000, 1, 0), count(3000, 2, 0), true},
		{"packets wrap at 64 bits", count(100, end64, 0), count(3100, 1, 0), count(3000, 2, 0), true},
		{"reset to nothing", count(3e9, 2e6, 7), count(0, 0, 0), count(0, 0, 0), false},
		{"reset, and traffic since", count(3e9, 2e6, 7), count(90_000, 60, 0), count(0, 0, 0), false},
		{"reset near a wrap", count(end32-5, 2e6, 0), count(90_000, 60, 0), count(0, 0, 0), false},
		{"reset of bytes alone", count(3e9, 100, 0), count(0, 101, 0), count(0, 0, 0), false},
		{"reset, more packets than before", count(3e9, 10, 0), count(9000, 90, 0), count(0, 0, 0), false},
		{"reset beyond 32 bits", count(9e12, 6e9, 0), count(9e9, 7e6, 0), count(0, 0, 0), false},
		{"reset beyond 32 bits of bytes alone", count(9e12, 60, 0), count(1500, 61, 0), count(0, 0, 0), false},
		{"drops went back", count(1, 1, 9), count(1, 1, 3), count(0, 0, 0), true},
		{"a jump no link makes", count(1, 1, 0), count(1<<60, 2, 0), count(0, 0, 0), false},
	} {
		got, ok := passed(c.from, c.to, maxBytes(time.Second))
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v %v, want %+v %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// A day of a VM: every line is a reading and what the sample says of it.
func TestSampler(t *testing.T) {
	eth := func(index int, mac string, bytes uint64) nic {
		c := sluice.Counters{Bytes: bytes, Packets: bytes / 1000}
		return nic{index: index, name: "eth0", mac: mac, tx: c, rx: c}
	}
	const a, b = "52:54:00:00:00:01", "52:54:00:00:00:02"
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var now reading
	var failure error
	s := sampler{read: func() (reading, error) { return now, failure }, log: slog.New(slog.DiscardHandler)}
	for _, step := range []struct {
		name string
		at   time.Duration // since boot
		wall time.Duration // since noon
		fail bool
		nics []nic
		want map[string]uint64 // bytes by MAC; nil: no sample
		span time.Duration
	}{
		{"first reading", 1000 * time.Second, 0, false, []nic{eth(2, a, 5000)}, nil, 0},
		{"traffic", 1001 * time.Second, time.Second, false, []nic{eth(2, a, 9000)}, map[string]uint64{a: 4000}, time.Second},
		{"the clock steps a year ahead", 1002 * time.Second, 8760 * time.Hour, false, []nic{eth(2, a, 10000)}, map[string]uint64{a: 1000}, time.Second},
		{"the clock steps back", 1003 * time.Second, 3 * time.Second, false, []nic{eth(2, a, 12000)}, map[string]uint64{a: 2000}, time.Second},
		{"it vanishes", 1004 * time.Second, 4 * time.Second, false, nil, map[string]uint64{}, time.Second},
		{"it reappears with its counters", 1005 * time.Second, 5 * time.Second, false, []nic{eth(2, a, 90000)}, map[string]uint64{}, time.Second},
		{"and is the same again", 1006 * time.Second, 6 * time.Second, false, []nic{eth(2, a, 91000)}, map[string]uint64{a: 1000}, time.Second},
		{"another device of the same name", 1007 * time.Second, 7 * time.Second, false, []nic{eth(3, b, 5_000_000)}, map[string]uint64{}, time.Second},
		{"another of the same name and address", 1008 * time.Second, 8 * time.Second, false, []nic{eth(4, b, 9_000_000)}, map[string]uint64{}, time.Second},
		{"its address is changed", 1009 * time.Second, 9 * time.Second, false, []nic{eth(4, a, 9_001_000)}, map[string]uint64{}, time.Second},
		{"a second one comes, in first place", 1010 * time.Second, 10 * time.Second, false, []nic{eth(9, b, 7000), eth(4, a, 9_003_000)}, map[string]uint64{a: 2000}, time.Second},
		{"a reading fails", 1011 * time.Second, 11 * time.Second, true, nil, nil, 0},
		{"nothing of that is lost", 1012 * time.Second, 12 * time.Second, false, []nic{eth(9, b, 8000), eth(4, a, 9_009_000)}, map[string]uint64{a: 6000, b: 1000}, 2 * time.Second},
		{"too soon", 1012*time.Second + 1, 12 * time.Second, false, []nic{eth(9, b, 8000), eth(4, a, 9_010_000)}, nil, 0},
		{"nor of that", 1013 * time.Second, 13 * time.Second, false, []nic{eth(9, b, 8000), eth(4, a, 9_011_000)}, map[string]uint64{a: 2000, b: 0}, time.Second},
		{"the VM slept for a day", 90000 * time.Second, 89000 * time.Second, false, []nic{eth(4, a, 9_900_000)}, nil, 0},
		{"and goes on", 90001 * time.Second, 89001 * time.Second, false, []nic{eth(4, a, 9_901_000)}, map[string]uint64{a: 1000}, time.Second},
	} {
		now, failure = reading{at: step.at, wall: noon.Add(step.wall), nics: step.nics}, nil
		if step.fail {
			failure = errors.New("no")
		}
		got, ok := s.sample()
		if ok != (step.want != nil) {
			t.Errorf("%s: sample %v", step.name, ok)
			continue
		}
		if !ok {
			continue
		}
		if got.Span != step.span || !got.At.Equal(now.wall) || len(got.NICs) != len(step.want) {
			t.Errorf("%s: %+v", step.name, got)
		}
		for _, n := range got.NICs {
			if n.Tx.Bytes != step.want[n.MAC] || n.Rx.Bytes != step.want[n.MAC] {
				t.Errorf("%s: %+v, want %d bytes", step.name, n, step.want[n.MAC])
			}
		}
	}
}
