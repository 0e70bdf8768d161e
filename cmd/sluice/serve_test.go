package main

import (
	"testing"

	"sluice"
)

// One that is held back wants all it can get; one that sends what it likes wants that.
func TestDemand(t *testing.T) {
	m := func(n float64) sluice.Rate { return sluice.Rate(n * 1e6) }
	vif := func(vm string, usage, demand, limit sluice.Rate, drops uint64) sluice.VIFStatus {
		return sluice.VIFStatus{VIF: sluice.VIF{VM: vm}, Tx: sluice.DirectionStatus{Usage: usage, Demand: demand, Limit: limit, Drops: drops}}
	}
	d := sluice.DataSet{Capacity: sluice.Capacity{Tx: m(100), Rx: m(100)}, VIFs: []sluice.VIFStatus{
		vif("limited", m(30), m(30.2), m(30), 0), vif("dropped", m(10), m(10.1), sluice.Unlimited, 2), vif("paced", m(20), m(20), sluice.Unlimited, 0), vif("waits", m(1), m(1.1), sluice.Unlimited, 0),
	}}
	for _, x := range []struct {
		more sluice.Rate // of another vif
		want map[string]sluice.Rate
	}{
		{0, map[string]sluice.Rate{"limited/0": sluice.Unlimited, "dropped/0": sluice.Unlimited, "paced/0": m(20), "waits/0": m(1.1)}},
		{m(38), map[string]sluice.Rate{"paced/0": m(20), "waits/0": sluice.Unlimited}}, // the link is full
	} {
		all := demand(sluice.DataSet{Capacity: d.Capacity, VIFs: append(d.VIFs, vif("more", x.more, x.more, sluice.Unlimited, 0))})
		for key, want := range x.want {
			if got := all[key].Tx; got != want {
				t.Errorf("%s wants %s, not %s", key, got, want)
			}
		}
	}
}
