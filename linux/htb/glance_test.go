package htb

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice"
)

// doubts says whether a glance found something to compare.
func (l look) doubts() bool {
	return l.all || l.trees || l.names || len(l.links) > 0 || len(l.keys) > 0
}

// TestGlance: what nobody announced is found by a glance all the same, and
// nothing is where nothing was changed.
func TestGlance(t *testing.T) {
	w := newCrowd(t)
	w.stop()
	w.htb.repair(t.Context(), look{all: true}, func(sluice.Repair) {}) // whatever activity had left
	glance := func() look {
		l, err := w.htb.glance(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := glance(); l.doubts() {
		t.Fatalf("nothing was changed, and there is doubt: %+v", l)
	}
	every := slices.Collect(maps.Keys(w.state.VIFs))
	all := append([]string{"", "@gold", "@inner"}, every...)
	slices.Sort(all)
	for _, c := range []struct {
		do   string
		keys []string
	}{
		{"tc class show dev sluice-tx | awk '/ceil 11Mbit/ {print $3}' | xargs -n1 -I X tc class change dev sluice-tx parent 51ce:1 classid X htb rate 1mbit ceil 2mbit", []string{"vm1/0"}},
		{"tc class show dev sluice-rx | awk '/ceil 13Mbit/ {print $3}' | xargs -n1 -I X tc qdisc replace dev sluice-rx parent X handle 99: pfifo limit 1", []string{"vm3/0"}},
		{"tc qdisc del dev v2 clsact", []string{"vm2/0"}},
		{"tc filter del dev v4 egress pref 65520", []string{"vm4/0"}},
		{"tc qdisc del dev sluice-rx root", all},
		{"ip link del sluice-tx", all},
		{"ip link set v5 name w5; ip link set w5 name v5", nil},
	} {
		w.run("sh", "-c", c.do)
		l := glance()
		if l.doubts() != (c.keys != nil) {
			t.Errorf("%s: %+v", c.do, l)
		}
		var told []string
		w.htb.repair(t.Context(), l, func(r sluice.Repair) { told = append(told, r.Key) })
		slices.Sort(told)
		if !slices.Equal(told, c.keys) {
			t.Errorf("%s: told of %q, want %q", c.do, told, c.keys)
		}
		if lost := w.differs(); len(lost) > 0 {
			t.Errorf("%s: %s", c.do, strings.Join(lost, "\n"))
		}
	}
}

// TestGlanceAtChanges: what we change ourselves while a glance looks is no
// reason for doubt.
func TestGlanceAtChanges(t *testing.T) {
	w := newCrowd(t)
	w.stop()
	w.htb.repair(t.Context(), look{all: true}, func(sluice.Repair) {})
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			b := w.state.VIFs["vm5/0"]
			b.Want.Tx.Limit = sluice.Rate(50+i%50) * mbit
			w.state.VIFs = maps.Clone(w.state.VIFs)
			w.state.VIFs["vm5/0"] = b
			w.set()
		}
	}()
	for range 50 {
		if l, err := w.htb.glance(t.Context()); err != nil || l.doubts() {
			t.Errorf("%v, doubt: %+v", err, l)
		}
	}
	close(end)
	<-ended
}
