package htb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/linux/tc"
)

// watch is a bench whose driver runs, and what it reports.
type watch struct {
	*bench
	mu   sync.Mutex
	told []sluice.Repair
	stop context.CancelFunc
}

func newWatch(t *testing.T) *watch {
	w := &watch{bench: newBench(t)}
	w.apply(20*mbit, 60*mbit)
	w.begin()
	return w
}

// begin has the driver run until the test ends or stop is called.
func (w *watch) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	w.htb.tellMost = 1000 // a test disturbs more than others do
	w.stop = func() { cancel(); <-ended }
	w.Cleanup(w.stop)
	go func() {
		defer close(ended)
		_ = w.htb.Run(ctx, func(r sluice.Repair) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, r)
		})
	}()
}

// reports are what was reported so far, and forgets them.
func (w *watch) reports() []sluice.Repair {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = nil
	return told
}

// astray says what an independent reader finds other than what was set: on the
// way from the device to its class, in the class, its queue or the root class.
func (w *watch) astray() (what string) {
	w.htb.lock <- struct{}{}
	state := w.htb.state
	w.htb.unlock()
	w.host.Do(func() {
		conn, err := tc.Dial()
		if err != nil {
			w.Error(err)
			return
		}
		defer conn.Close()
		for _, d := range sluice.Directions {
			want := Plan(state, d, Activity{})
			c, ok, err := Lookup(w.vif.Device, d)
			if len(want.Nodes) != 1 || err != nil || !ok || !c.Is(want.Nodes[0].Class) {
				what += fmt.Sprintf("%s: %v, %v, %+v; ", d, ok, err, c)
				continue
			}
			ifb, _, _ := conn.LinkByName(ifbName(d))
			if q, ok, err := conn.Qdisc(ifb.Index, c.Queue); err != nil || !ok {
				what += fmt.Sprintf("%s: the queue: %v, %v; ", d, ok, err)
			} else if set, _ := want.Nodes[0].Queue.fits(q); set != nil || q.Kind != tc.FIFOKind && q.Kind != tc.FQCodelKind {
				what += fmt.Sprintf("%s: the queue is %+v; ", d, q)
			}
			if root, ok, err := conn.Class(ifb.Index, handleOf(rootMinor)); err != nil || !ok || !root.Is(want.Link) {
				what += fmt.Sprintf("%s: the root class is %+v, %v; ", d, root, err)
			}
		}
	})
	return what
}

// mended says that within a second something is reported, and all is as it was
// set then. Nothing is read before: the kernel announces every class that
// somebody reads, which has the driver look.
func (w *watch) mended(what string) {
	w.Helper()
	begin := time.Now()
	for told := 0; told == 0; time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		told = len(w.told)
		w.mu.Unlock()
		if time.Since(begin) > time.Second {
			w.Errorf("%s: nothing is reported after a second", what)
			break
		}
	}
	for time.Since(begin) < time.Second && w.astray() != "" {
		time.Sleep(5 * time.Millisecond)
	}
	if left := w.astray(); left != "" {
		w.Errorf("%s: after %v: %s", what, time.Since(begin), left)
	}
}

const quiet = 400 * time.Millisecond // after which nothing is reported any more

// once says that every key was reported once, and mended.
func (w *watch) once(what string, keys ...string) {
	w.Helper()
	time.Sleep(quiet)
	var got []string
	told := w.reports()
	for _, r := range told {
		got = append(got, r.Key)
		if !r.Enforced {
			w.Errorf("%s: reported as not enforced: %s", what, r.Text)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, keys) {
		w.Errorf("%s: reported of %q, want once of %q: %+v", what, got, keys, told)
	}
	w.host.Do(func() {
		if p := w.htb.Problems(); len(p) > 0 {
			w.Errorf("%s: %v", what, p)
		}
	})
}

// TestDisturbances: whatever another program does to what is ours is noticed
// and mended within a second, and reported once.
func TestDisturbances(t *testing.T) {
	w := newWatch(t)
	key := w.vif.Key()
	run := func(commands string) func() {
		return func() {
			for one := range strings.SplitSeq(commands, ";") {
				w.run(fields(one)...)
			}
		}
	}
	for _, c := range []struct {
		what string
		do   func()
		keys []string // whose reports there are
	}{
		{"the line of the map is deleted", func() { w.loseLine(sluice.Tx) }, []string{key}},
		{"the clsact is deleted", run("tc qdisc del dev vif0 clsact"), []string{key}},
		{"our filter on ingress is deleted", run("tc filter del dev vif0 ingress pref 65520"), []string{key}},
		{"our filter on egress is deleted", run("tc filter del dev vif0 egress pref 65520"), []string{key}},
		{"the IFB is set down", run("ip link set sluice-tx down"), []string{""}},
		{"the IFB is deleted", run("ip link del sluice-rx"), []string{"", key}},
		{"the HTB is deleted", run("tc qdisc del dev sluice-tx root"), []string{"", key}},
		{"the HTB is replaced", run("tc qdisc replace dev sluice-tx root handle 7: pfifo"), []string{"", key}},
		{"the HTB is replaced under its handle", run("tc qdisc del dev sluice-tx root;tc qdisc add dev sluice-tx root handle 51ce: pfifo"), []string{"", key}},
		{"the class is deleted", run("tc class del dev sluice-rx classid 51ce:10"), []string{key}},
		{"the class is changed", run("tc class change dev sluice-tx parent 51ce:1 classid 51ce:10 htb rate 1mbit ceil 2mbit"), []string{key}},
		{"the root class is changed", run("tc class change dev sluice-tx parent 51ce: classid 51ce:1 htb rate 1mbit ceil 2mbit"), []string{""}},
		{"the queue is changed", func() {
			q := w.queues()[0]
			w.run("tc", "qdisc", "change", "dev", "sluice-tx", "parent", "51ce:10", "handle", "10:", q.Kind, "limit", "9999")
		}, []string{key}},
		{"the queue is replaced", run("tc qdisc replace dev sluice-tx parent 51ce:10 handle 99: pfifo limit 1"), []string{key}},
		{"the queue is replaced by one of our kind", run("tc qdisc replace dev sluice-tx parent 51ce:10 handle 99: bfifo limit 100"), []string{key}},
		{"the queue is replaced under its handle", run("tc qdisc del dev sluice-tx parent 51ce:10;tc qdisc add dev sluice-tx parent 51ce:10 handle 10: tbf rate 100kbit burst 2k limit 3k"), []string{key}},
		{"the queue is deleted", run("tc qdisc del dev sluice-tx parent 51ce:10"), []string{key}},
		{"frames are taken from the IFB", run("tc qdisc add dev sluice-rx clsact;tc filter add dev sluice-rx egress pref 1 protocol all u32 match u32 0 0 action mirred egress redirect dev lo"), []string{""}},
		{"the classifier is deleted", run("tc filter del dev sluice-rx parent 51ce: pref 1"), []string{""}},
		{"the classifier is replaced", run("tc filter replace dev sluice-rx parent 51ce: pref 1 handle 1 bpf bytecode 1,6_0_0_0"), []string{""}},
		{"a filter runs before the classifier", run("tc filter add dev sluice-rx parent 51ce: pref 1 handle 2 bpf bytecode 1,6_0_0_4294967295 flowid 51ce:1"), []string{""}},
		{"a filter of another kind has the classifier's place", run("tc filter del dev sluice-tx parent 51ce: pref 1;tc filter add dev sluice-tx parent 51ce: pref 1 protocol ip u32 match u32 0 0 flowid 51ce:1"), []string{""}},
	} {
		if t.Failed() {
			t.FailNow()
		}
		if w.set(); w.astray() != "" {
			t.Fatalf("before %s: %s", c.what, w.astray())
		}
		time.Sleep(quiet)
		w.reports()
		c.do()
		w.mended(c.what)
		w.once(c.what, c.keys...)
	}
}

// loseLine deletes the vif's line from the map, as bpftool would.
func (w *watch) loseLine(d sluice.Direction) {
	w.htb.lock <- struct{}{}
	defer w.htb.unlock()
	if err := w.htb.programs.forget(d, w.htb.links[w.vif.Device]); err != nil {
		w.Error(err)
	}
}

// fields are a command's words; "_" is a space inside one.
func fields(args string) (words []string) {
	for _, word := range strings.Fields(args) {
		words = append(words, strings.ReplaceAll(word, "_", " "))
	}
	return words
}
