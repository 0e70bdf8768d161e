package xen_test

import (
	"context"
	"math"
	"testing"
	"time"

	"sluice"
	"sluice/allocate"
)

// TestShares holds what three loaded guests get against the oracle, in both
// directions: one by itself, two in a group by weights of 1 to 2, one of these
// with a guarantee of its own. Then the first is guaranteed more, live.
func TestShares(t *testing.T) {
	const (
		link  = 16 * sluice.Mbit // what an emulated host carries at its slowest
		slack = .12              // of what the oracle says, and
		more  = link / 40
	)
	d, guests := guests(t, 3)
	ctx := context.Background()
	capacity := func(r sluice.Rate) {
		t.Helper()
		if _, err := d.SetCapacity(ctx, sluice.Capacity{Tx: r, Rx: r}); err != nil {
			t.Fatal(err)
		}
	}
	capacity(link)
	d.sluice(t, "group", "set", "gold", "unlimited", "--guarantee", "3mbit")
	t.Cleanup(func() {
		for _, g := range guests {
			d.command(t, g.name, "0", "unlimited", "--guarantee", "0", "--weight", "100", "--group", "host")
		}
		d.sluice(t, "group", "delete", "gold")
		capacity(sluice.Unlimited)
	})
	claims := []allocate.Claim{
		{Weight: 100, Group: allocate.Host},
		{Weight: 100, Group: 0},
		{Weight: 200, Group: 0, Guarantee: 1500 * sluice.Kbit},
	}
	for i := range claims {
		claims[i].Limit, claims[i].Demand = sluice.Unlimited, sluice.Unlimited
	}
	over := []allocate.Group{{Guarantee: 3 * sluice.Mbit, Limit: sluice.Unlimited, Weight: 100, Parent: allocate.Host}}
	d.command(t, "vm2", "0", "unlimited", "--weight", "100", "--group", "gold")
	d.command(t, "vm3", "0", "unlimited", "--weight", "200", "--guarantee", "1500kbit", "--group", "gold")

	// got is what passed each in the last seconds, as the host counts it.
	got := func(way sluice.Direction, seconds int) (rates []float64) {
		t.Helper()
		recent, err := d.Recent(ctx, seconds)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range guests {
			sum, n := 0.0, 0.0
			for _, v := range recent.VIFs {
				for _, rate := range map[sluice.Direction][]*float64{sluice.Tx: v.Tx, sluice.Rx: v.Rx}[way] {
					if v.VM == g.name && rate != nil {
						sum, n = sum+*rate, n+1
					}
				}
			}
			rates = append(rates, sum/max(n, 1))
		}
		return rates
	}
	for _, way := range sluice.Directions {
		d.command(t, "vm1", "0", "unlimited", "--guarantee", "0")
		claims[0].Guarantee = 0
		const longest = 150
		args := []string{"-P", "1"}
		if way == sluice.Tx {
			args = append(args, "-R")
		}
		var loads []func()
		for i, g := range guests {
			args[1] = []string{"2", "4", "2"}[i]
			loads = append(loads, g.load(longest, args...))
		}
		for _, guaranteed := range []sluice.Rate{0, 9 * sluice.Mbit} {
			if guaranteed != 0 {
				d.command(t, "vm1", "0", "unlimited", "--guarantee", guaranteed.String())
				claims[0].Guarantee = guaranteed
			}
			want, err := allocate.Share(link, claims, over)
			if err != nil {
				t.Fatal(err)
			}
			var wrong bool
			time.Sleep(2 * time.Second) // until TCP has settled
			for range 10 {              // an emulated host stumbles; what is wrong is wrong every time
				time.Sleep(5 * time.Second)
				rates, sum := got(way, 4), 0.0
				off := false
				for i, rate := range rates {
					sum += rate
					off = off || math.Abs(rate-float64(want[i])) > slack*float64(want[i])+float64(more)
				}
				t.Logf("%s, vm1 guaranteed %s: %.1f, %.1f and %.1f Mbit/s, the oracle says %.1f, %.1f and %.1f", way, guaranteed,
					rates[0]/1e6, rates[1]/1e6, rates[2]/1e6, float64(want[0])/1e6, float64(want[1])/1e6, float64(want[2])/1e6)
				if !off {
					wrong = false
					break
				}
				// Who is not kept waiting by others has no share: then the host, not the link, was what they lacked.
				wrong = wrong || sum > .98*float64(link)
			}
			if wrong {
				t.Errorf("%s: a share is off by more than %.0f %% and %s", way, 100*slack, sluice.Rate(more))
			}
		}
		for _, end := range loads {
			end()
		}
		time.Sleep(time.Second) // iperf3's server takes up the next client
	}
}
