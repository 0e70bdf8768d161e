package htb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice"
)

// crowd is a watch with more vifs, in groups.
func newCrowd(t *testing.T) *watch {
	w := &watch{bench: newBench(t)}
	w.state.Capacity = sluice.Capacity{Tx: gbit, Rx: gbit}
	w.state.Groups = map[string]sluice.Allocations{"gold": grouped(sluice.HostGroup, 300*mbit), "inner": grouped("gold", 200*mbit)}
	w.state.VIFs = map[string]sluice.Bound{w.vif.Key(): {VIF: w.vif, Want: grouped("inner", 20*mbit)}}
	for i := range 6 {
		v := sluice.VIF{VM: fmt.Sprint("vm", i), Device: fmt.Sprint("v", i)}
		w.run("ip", "link", "add", v.Device, "up", "type", "veth", "peer", "name", fmt.Sprint("p", i))
		w.state.VIFs[v.Key()] = sluice.Bound{VIF: v, Want: grouped([]string{"", "gold", "inner"}[i%3], sluice.Rate(10+i)*mbit)}
	}
	w.set()
	w.begin()
	time.Sleep(quiet)
	w.reports()
	return w
}

// lost names the vifs whose frames do not pass a class of their limit.
func (w *watch) lost() (names []string) {
	w.host.Do(func() {
		for _, b := range w.state.VIFs {
			for _, d := range sluice.Directions {
				c, ok, err := Lookup(b.VIF.Device, d)
				if err != nil || !ok || c.Ceil != bytesPerSecond(b.Want.Get(d).Limit) {
					names = append(names, fmt.Sprintf("%s %s: %v %v %+v", b.VIF, d, ok, err, c))
				}
			}
		}
	})
	return names
}

// TestCrowd: what is lost of many vifs and groups at once is mended at once,
// and each is reported once; also where a Set comes before anybody looks.
func TestCrowd(t *testing.T) {
	w := newCrowd(t)
	var all []string
	for key := range w.state.VIFs {
		all = append(all, key)
	}
	for _, set := range []bool{false, true} {
		for _, c := range []struct {
			do   string
			keys []string
		}{
			{"ip link del sluice-tx", append([]string{"", "@gold", "@inner"}, all...)},
			{"tc qdisc del dev sluice-rx root", append([]string{"", "@gold", "@inner"}, all...)},
			{"tc qdisc del dev v1 clsact; tc qdisc del dev v2 clsact", []string{"vm1/0", "vm2/0"}},
			{"tc filter del dev v0 ingress; tc filter del dev sluice-tx parent 51ce: pref 1", []string{"", "vm0/0"}},
			{"tc class show dev sluice-tx | awk '/ceil 11Mbit/ {print $3}' | xargs -n1 tc class del dev sluice-tx classid", []string{"vm1/0"}},
		} {
			w.run("sh", "-c", c.do)
			if set {
				b := w.state.VIFs["vm5/0"]
				b.Want.Rx.Weight++
				w.state.VIFs = maps.Clone(w.state.VIFs) // the driver keeps what it was given
				w.state.VIFs["vm5/0"] = b
				w.set()
			}
			begin := time.Now()
			for len(w.lost()) > 0 && time.Since(begin) < time.Second {
				time.Sleep(20 * time.Millisecond)
			}
			if lost := w.lost(); len(lost) > 0 {
				t.Errorf("%s: after a second:\n%s", c.do, strings.Join(lost, "\n"))
			}
			slices.Sort(c.keys)
			w.once(fmt.Sprintf("%s (a Set after it: %v)", c.do, set), c.keys...)
		}
	}
}

// TestFoundBySet: what a Set of one vif finds is told by the look after it, of
// all that it concerns; and a Set that comes after that is not told of.
func TestFoundBySet(t *testing.T) {
	w := newCrowd(t)
	w.stop()
	look1 := func() (keys []string) {
		w.htb.repair(t.Context(), look{all: true}, func(r sluice.Repair) { keys = append(keys, r.Key) })
		slices.Sort(keys)
		return keys
	}
	change := func() {
		b := w.state.VIFs["vm5/0"]
		b.Want.Tx.Limit += mbit
		w.state.VIFs = maps.Clone(w.state.VIFs) // the driver keeps what it was given
		w.state.VIFs["vm5/0"] = b
		w.set()
	}
	look1() // whatever activity had left
	all := append([]string{"", "@gold", "@inner"}, slices.Collect(maps.Keys(w.state.VIFs))...)
	slices.Sort(all)
	for do, want := range map[string][]string{"tc qdisc del dev sluice-tx root": all, "ip link del sluice-rx": all, "tc qdisc del dev v5 clsact": {"vm5/0"}, "tc qdisc del dev v1 clsact": {"vm1/0"}} {
		w.run("sh", "-c", do)
		change()
		if got := look1(); !slices.Equal(got, want) {
			t.Errorf("%s: told of %q, want %q", do, got, want)
		}
		if lost := w.differs(); len(lost) > 0 {
			t.Errorf("%s: %s", do, strings.Join(lost, "\n"))
		}
		change()
		if got := look1(); len(got) > 0 {
			t.Errorf("a change after %s: told of %q", do, got)
		}
	}
}
