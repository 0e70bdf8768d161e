package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice"
)

// TestSetReachesKernel follows a change from the command line to a flow.
func TestSetReachesKernel(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	if h.kernel() != [2]uint64{} {
		t.Error("the daemon shaped before it was asked to")
	}
	c := h.set("web", "0", "20mbit")
	if c.Result != sluice.Done || !c.Verified || len(c.States) != 3 {
		t.Errorf("the change: %+v", c)
	}
	if got := h.kernel(); got != [2]uint64{20e6, 20e6} {
		t.Errorf("the kernel holds %v", got)
	}
	r := h.flow()
	for try := 1; (r < 15e6 || r > 22e6) && try < 4; try++ { // a busy machine may have stood in its way
		t.Logf("the flow has %.1f Mbit/s; once more", r/1e6)
		r = h.flow()
	}
	if r < 15e6 || r > 22e6 {
		t.Errorf("the flow has %.1f Mbit/s", r/1e6)
	}
	h.set("web", "0", "50mbit", "--tx")
	if got := h.kernel(); got != [2]uint64{50e6, 20e6} {
		t.Errorf("after --tx the kernel holds %v", got)
	}
	h.set("web", "0", "--tx", "60mbit", "--rx=1gbit")
	if got := h.kernel(); got != [2]uint64{60e6, 1e9} {
		t.Errorf("after --tx and --rx the kernel holds %v", got)
	}
	if v := h.listed(); v.VM != "web" || v.Tx.Limit != 60e6 || v.Rx.Limit != 1e9 || v.Source != sluice.SourceHost {
		t.Errorf("listed: %+v", v)
	}
	if out := h.sluice("history", "web"); !strings.Contains(out, "web vif 0") || !strings.Contains(out, "mbit") {
		t.Errorf("the flow is not in the history:\n%s", out)
	}
	h.sluice("undo", "3")
	if got := h.kernel(); got != [2]uint64{50e6, 20e6} {
		t.Errorf("after undo the kernel holds %v", got)
	}
	if out := h.sluice("changes"); strings.Count(out, "done") != 4 {
		t.Errorf("the journal:\n%s", out)
	}
	h.set("web", "0", "unlimited")
	if v := h.listed(); v.Tx.Limit != sluice.Unlimited {
		t.Errorf("lifted: %+v", v)
	}
	h.set("web", "0", "70mbit")
	_ = h.daemon.Process.Signal(syscall.SIGTERM)
	h.ended()
	if h.kernel() == [2]uint64{} {
		t.Error("the kernel stopped shaping with the daemon")
	}
	var out string
	var status int
	h.ns.Do(func() { out, _, status = h.try("doctor", "--cleanup") })
	if status != 0 || h.kernel() != [2]uint64{} {
		t.Errorf("cleaning up: %d %s", status, out)
	}
}

// TestBadInput changes nothing and says what was wrong.
func TestBadInput(t *testing.T) {
	h := newHost(t, "")
	if _, text, status := h.try("set", "web", "0", "1mbit"); status != 6 || !strings.Contains(text, "no sluice daemon") {
		t.Errorf("no daemon: %d %s", status, text)
	}
	h.start()
	h.ready()
	h.set("web", "0", "100mbit")
	for _, x := range []struct {
		args   string
		status int
		says   string
	}{
		{"set nobody 0 1mbit", 3, `no VM "nobody"`},
		{"set web 7 1mbit", 3, "no vif 7"},
		{"set web 0 0", 2, "cut the VM off"},
		{"set web 0 10mbps", 2, "ambiguous"},
		{"set web 0 1e99", 2, "not a rate"},
		{"set web 0 -- -1mbit", 2, "not a rate"},
		{"set web 0 7kbit", 2, "below 8kbit"},
		{"set web 0 11gbit", 4, "above the link"},
		{"set web x 1mbit", 2, "not a vif's index"},
		{"set web 0", 2, "sets nothing"},
		{"set web 0 1mbit --revision 1", 4, "changed since you looked"},
		{"set web 0 1mbit --guarantee 2mbit", 4, "above the limit"},
		{"set web 0 --weight 0", 2, "weight 0"},
		{"set web 0 --weight 1000000000", 2, "weight 1000000000"},
		{"set web 0 --weight 9999999999999999999999", 2, "for --weight; nothing was changed (try: its share of what is spare, 1 to 10000"},
		{"set web 0 --priority 1", 2, "within the guarantee, and there is none"},
		{"set web 0 unlimited --guarantee unlimited", 4, "try: a guarantee of at most 7.5gbit)"},
		{"set web 0 unlimited --guarantee 7500000001", 4, "try: a guarantee of at most 7.5gbit)"},
		{"set web 0 1gbit --guarantee 11gbit", 4, "try: a guarantee of at most 1gbit)"},
		{"set web 0 1mbit --for 0s", 2, "--for 1s"},
		{"set web 0 1mbit --for 1m --confirm 1m", 2, "only one of"},
		{"set web 0 --group gold", 3, `no group "gold"`},
		{"group set gold --group gold", 2, "in itself"},
		{"group set gold --guarantee 8gbit", 4, "there is still no group gold (try: a guarantee of at most 7.5gbit)"},
		{"group set host 1gbit", 2, "the host itself"},
		{"group delete host", 2, "the host itself"},
		{"group delete gold", 3, `no group "gold"`},
		{"capacity 1kbit", 2, "carries nothing"},
		{"confirm 1", 4, "lasts already"},
		{"undo 99", 3, "99"},
		{"undo x", 2, "not a change"},
		{"list -o xml", 2, "no output"},
		{"history nobody", 3, `no VM "nobody"`},
		{"history web --since 1h", 2, "out of range"},
		{"top", 2, "needs a terminal"},
		{"frobnicate", 2, "unknown command"},
		{"serve --config /nonexistent", 2, "settings file"},
	} {
		_, text, status := h.try(strings.Fields(x.args)...)
		if status != x.status || !strings.Contains(text, x.says) {
			t.Errorf("sluice %s: %d %swant %d and %q", x.args, status, text, x.status, x.says)
		}
	}
	if got := h.kernel(); got != [2]uint64{100e6, 100e6} {
		t.Errorf("the kernel holds %v", got)
	}
	if v := h.listed(); v.Tx.Limit != 100e6 {
		t.Errorf("listed: %+v", v)
	}
}

// TestGuarantees takes guarantees, groups and the link through what a person does
// with them, and holds every refusal to its word.
func TestGuarantees(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	ask := func(args string, status int, says string) {
		t.Helper()
		out, text, got := h.try(strings.Fields(args)...)
		if got != status || !strings.Contains(out+text, says) {
			t.Errorf("sluice %s: %d %s%swant %d and %q", args, got, out, text, status, says)
		}
	}
	ask("group set gold 5gbit --guarantee 1gbit", 0, "group gold: 5gbit guarantee 1gbit, was no group")
	ask("group set inner --group gold --guarantee 500mbit", 0, "in group gold")
	ask("group set gold --group inner", 4, "inside itself: group inner is in it")
	ask("set web 0 --group inner --guarantee 1001mbit", 4, "or first: sluice group set gold --tx --guarantee 1.001gbit, then: sluice group set inner --tx --guarantee 1.001gbit)")
	ask("group set gold --tx --guarantee 1.001gbit", 0, "")
	ask("group set inner --tx --guarantee 1.001gbit", 0, "")
	ask("set web 0 --group inner --tx --guarantee 1001mbit --priority 1", 0, "tx guarantee 1.001gbit priority 1, no limit")
	ask("list", 0, "PRIORITY")
	ask("group delete inner", 4, "first: sluice set web 0 --group host)")
	ask("capacity 1gbit", 4, "try: at least 1.334666666gbit, or lower guarantees by 251mbit first)")
	ask("capacity 1334666665", 4, "at least 1.334666666gbit")
	ask("capacity 1334666666", 0, "")

	// SIGHUP reads capacity and reserve.
	settings, err := os.ReadFile(h.path("sluice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	reread := func(reserve, says string) {
		t.Helper()
		if err := os.WriteFile(h.path("sluice.toml"), append([]byte("reserve = "+reserve+"\n"), settings...), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = h.daemon.Process.Signal(syscall.SIGHUP)
		for range 100 {
			if out := h.sluice("capacity"); strings.Contains(out, says) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("with a reserve of %s: %s", reserve, h.sluice("capacity"))
	}
	reread("10", "10gbit")
	ask("capacity", 0, "10 %")
	ask("set web 0 --group host --guarantee 9000000001", 4, "at most 7.999gbit") // the group has its own yet
	reread("95", "10 %")                                                         // refused, and the daemon goes on

	// A way back outlives the daemon.
	ask("group set inner 2gbit --confirm 2s", 0, "sluice confirm")
	ask("set web 0 3gbit --for 2s", 0, "reverts")
	_ = h.daemon.Process.Kill()
	h.ended()
	time.Sleep(2 * time.Second)
	h.start()
	h.ready()
	for range 100 {
		if out := h.sluice("changes", "-n", "2"); strings.Count(out, "takes back") == 2 && strings.Count(out, "done") == 2 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if v := h.listed(); v.Tx.Limit != sluice.Unlimited || v.Tx.Guarantee != 1001e6 || v.Group != "inner" {
		t.Errorf("listed: %+v", v)
	}
	if out := h.sluice("group"); strings.Contains(out, "2gbit") {
		t.Errorf("groups:\n%s", out)
	}
}

// TestCorruptSettings are refused whole, with the line.
func TestCorruptSettings(t *testing.T) {
	h := newHost(t, "")
	for text, says := range map[string]string{
		"bridge = \"br0\"\ncapacity = \"10mbps\"\n": "ambiguous",
		"bridge = \n":        "line 1",
		"brigde = \"br0\"\n": "brigde",
		"[[vm]]\nname = \"a\"\n[[vm.vif]]\nindex = 0\n": "device",
		"listen = \"0.0.0.0:8511\"\n":                   "from other machines",
	} {
		if err := os.WriteFile(h.path("bad.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h.ns.Do(func() {
			_, out, status := h.try("serve", "--state-dir", h.path("other"), "--config", h.path("bad.toml"))
			if status == 0 || !strings.Contains(out, says) {
				t.Errorf("%q: %d %s", text, status, out)
			}
		})
	}
}

// TestKillAtEveryStep ends the daemon between any two steps of a change: the
// next start finishes or undoes it, and kernel, store and journal agree.
func TestKillAtEveryStep(t *testing.T) {
	h := newHost(t, "faults")
	h.start()
	h.ready()
	h.set("web", "0", "100mbit")
	limit := 100
	for _, point := range []string{"located", "before-begin", "after-begin", "before-apply", "after-apply", "before-finish", "after-finish", "before-answer"} {
		t.Run(point, func(t *testing.T) {
			h.T = t
			_ = h.daemon.Process.Kill()
			h.ended()
			h.start("SLUICE_FAULT=" + point)
			h.ready()
			limit++
			asked := fmt.Sprintf("%dmbit", limit)
			// What the store says is done may be answered before the daemon dies.
			if _, text, status := h.try("set", "web", "0", asked); status != 6 && !(status == 0 && point == "after-finish") {
				t.Errorf("the daemon died and the answer was %d %s", status, text)
			}
			h.ended()
			h.start()
			h.ready()
			v := h.listed()
			for v.State != sluice.Connected {
				v = h.listed()
			}
			kernel := h.kernel()
			if uint64(v.Tx.Limit) != kernel[0] || uint64(v.Rx.Limit) != kernel[1] {
				t.Errorf("the store says %s, the kernel %v", v.Tx.Limit, kernel)
			}
			if out := h.sluice("changes"); strings.Contains(out, "pending") {
				t.Errorf("the journal:\n%s", out)
			}
		})
	}
}

// TestRandomKills ends the daemon at 200 random times while changes keep
// coming; whenever it starts again, kernel, store and journal agree.
func TestRandomKills(t *testing.T) {
	h := newHost(t, "")
	limit := 0
	for i := range 200 {
		h.start()
		after := time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { _ = h.daemon.Process.Kill() })
		for alive := true; alive; limit++ {
			_, _, status := h.try("set", "web", "0", fmt.Sprintf("%dkbit", 1000+limit%5000))
			select {
			case err := <-h.stop:
				h.stop <- err
				alive = false
			default:
				if status == 6 {
					time.Sleep(time.Millisecond)
				}
			}
		}
		after.Stop()
		h.ended()
		if i%10 != 9 {
			continue
		}
		h.start()
		h.ready()
		v := h.listed()
		for v.State != sluice.Connected {
			v = h.listed()
		}
		if kernel := h.kernel(); v.Tx.Limit != sluice.Unlimited && (uint64(v.Tx.Limit) != kernel[0] || uint64(v.Rx.Limit) != kernel[1]) {
			t.Errorf("after %d kills the store says %s, the kernel %v", i+1, v.Tx.Limit, kernel)
		}
		if out := h.sluice("changes", "-n", "1000"); strings.Contains(out, "pending") {
			t.Errorf("after %d kills the journal:\n%s", i+1, out)
		}
		h.end()
	}
	t.Logf("%d changes were asked for", limit)
}
