package xen

import (
	"math"
	"testing"
	"time"

	"sluice"
)

func TestCreditIsNeverFatal(t *testing.T) {
	for _, shaper := range []Shaper{nil, (*Netback)(nil)} {
		n := &Netback{Shaper: shaper}
		for _, limit := range []sluice.Rate{sluice.MinLimit, 5 * sluice.Mbit, 100 * sluice.Mbit, 40 * sluice.Gbit, sluice.MaxRate, sluice.Unlimited} {
			for _, queues := range []int{1, 2, 64} {
				c := n.credit(limit, queues)
				if again, err := ParseCredit(c.String()); err != nil || again != c {
					t.Errorf("%s on %d queues is %q, which reads as %v, %v", limit, queues, c, again, err)
				}
			}
		}
	}
}

func TestCreditIsDividedWhereItIsTheLimit(t *testing.T) {
	n := &Netback{}
	one, two := n.credit(100*sluice.Mbit, 1), n.credit(100*sluice.Mbit, 2)
	if one != (Credit{675_000, window}) || two != (Credit{337_500, window}) {
		t.Errorf("%v and %v", one, two)
	}
}

func TestParseCredit(t *testing.T) {
	c, err := ParseCredit("62500,50000") // what xl writes for rate=10Mb/s
	if err != nil || c != (Credit{62500, 50 * time.Millisecond}) || c.Rate() != 10*sluice.Mbit {
		t.Errorf("%v, %v, %s", c, err, c.Rate())
	}
	for _, bad := range []string{"", "0,0", "0,50000", "5,0", "5", "5,", ",5", "5,5,5", "-1,5", "a,b", " 5,5"} {
		if c, err := ParseCredit(bad); sluice.CodeOf(err) != sluice.Invalid {
			t.Errorf("%q is %v, %v", bad, c, err)
		}
	}
}

// recorded in dom0, Debian's Linux 6.1: cat /sys/kernel/debug/xen-netback/vif1.0/io_ring_q0
const ring = `Queue 0
TX: nr_ents 256
req prod 14 (0) cons 14 (0) event 15 (1)
rsp prod 14 (base) pvt 14 (0) event 15 (1)
pending prod 270 pending cons 14 nr_pending_reqs 0
dealloc prod 0 dealloc cons 0 dealloc_queue 0

RX: nr_ents 256
req prod 272 (256) cons 16 (0) event 1 (-15)
rsp prod 16 (base) pvt 16 (0) event 17 (1)

NAPI state: 10 NAPI weight: 64 TX queue len 0
Credit timer_pending: 0, credit: 12500, usec: 10000
remaining: 131072, expires: 0, now: 4294900541

Rx internal queue: len 0 max 524288 pkts 0 running
`

func TestRingCredit(t *testing.T) {
	if c, err := ringCredit(ring); err != nil || c != (Credit{12500, 10 * time.Millisecond}) {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := ringCredit("Credit timer_pending: 0, credit: 18446744073709551615, usec: 0\n"); err != nil || c != NoLimit {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := ringCredit("nothing"); err == nil {
		t.Error("a file without a credit was read")
	}
}

func FuzzCredit(f *testing.F) {
	f.Add("62500,50000", ring)
	f.Fuzz(func(t *testing.T, node, file string) {
		if c, err := ParseCredit(node); err == nil && (c.Bytes == 0 || c.Window == 0 && c.Bytes != math.MaxUint64) {
			t.Errorf("%q passed", node)
		}
		_, _ = ringCredit(file)
	})
}
