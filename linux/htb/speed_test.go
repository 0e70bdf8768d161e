package htb

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sluice"
	"sluice/linux/netnstest"
)

// crowd is a namespace with so many vifs, and a state that limits each.
func crowd(t testing.TB, n int) (*Driver, sluice.Effective) {
	t.Helper()
	ns := netnstest.New(t)
	e := sluice.Effective{Capacity: sluice.Capacity{Tx: 100 * sluice.Gbit, Rx: 100 * sluice.Gbit}, VIFs: map[string]sluice.Bound{}}
	var d *Driver
	ns.Do(func() {
		for i := range n / 2 {
			err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("a", i)}, PeerName: fmt.Sprint("b", i)})
			if err != nil {
				t.Error(err)
				return
			}
			for _, side := range []string{"a", "b"} {
				v := sluice.VIF{VM: fmt.Sprint(side, i), Device: fmt.Sprint(side, i)}
				r := sluice.Rate(10+i) * sluice.Mbit
				e.VIFs[v.Key()] = sluice.Bound{VIF: v, Want: both(r, r)}
			}
		}
		var err error
		if d, err = New(slog.New(slog.DiscardHandler), Ethernet); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(d.Close)
	return d, e
}

// BenchmarkSet is what a whole state takes at once, what a change of one vif in
// it does, and what it takes to look at all of it.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{10, 1000} {
		d, e := crowd(b, n)
		set := func(b *testing.B) {
			failed, err := d.Set(context.Background(), e)
			if err != nil || len(failed) > 0 {
				b.Fatal(err, failed)
			}
		}
		b.Run(fmt.Sprintf("all of %d", n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				whole := e
				e = sluice.Effective{Capacity: e.Capacity}
				set(b)
				for !d.empty() {
					time.Sleep(time.Millisecond)
				}
				e = whole
				b.StartTimer()
				set(b)
			}
		})
		b.Run(fmt.Sprintf("one of %d", n), func(b *testing.B) {
			v := e.VIFs["a0/0"]
			set(b)
			b.ResetTimer()
			for i := range b.N {
				changed := make(map[string]sluice.Bound, n)
				for key, one := range e.VIFs {
					changed[key] = one
				}
				r := sluice.Rate(10+i%100) * sluice.Mbit
				v.Want = both(r, r)
				changed["a0/0"] = v
				e.VIFs = changed
				set(b)
			}
		})
		b.Run(fmt.Sprintf("looking at %d", n), func(b *testing.B) {
			set(b)
			b.ResetTimer()
			for range b.N {
				set(b)
			}
		})
	}
}
