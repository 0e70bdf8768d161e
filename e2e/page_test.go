package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPage drives the page in Chromium: a chart that moves, a limit that is
// dragged, moved by key and typed, and each time the kernel that follows; then
// what else is set of a vif.
func TestPage(t *testing.T) {
	for _, need := range []string{"../web/node_modules/playwright-core", "../web/dist/index.html", "/usr/bin/chromium"} {
		if _, err := os.Stat(need); err != nil {
			t.Fatalf("%v; make deps page makes it", err)
		}
	}
	h := newHost(t, "")
	h.start()
	h.ready()
	h.set("web", "0", "40mbit")
	h.sluice("group", "set", "gold", "30mbit", "--guarantee", "1mbit")
	token, err := os.ReadFile(h.path("state/token"))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	flowing := make(chan struct{})
	go func() { // something to see
		defer close(flowing)
		for {
			select {
			case <-stop:
				return
			default:
				h.flow()
			}
		}
	}()
	var out []byte
	h.ns.Do(func() {
		cmd := exec.Command("timeout", "90", "node", "page.mjs", "http://127.0.0.1:8511/", strings.TrimSpace(string(token)), h.path("page.png"))
		cmd.Stderr = os.Stderr
		out, err = cmd.Output()
	})
	close(stop)
	<-flowing
	if err != nil {
		t.Fatalf("the browser: %v\n%s", err, h.log)
	}
	var seen struct {
		Errors                []string
		Moves                 bool
		Dragged, Keyed, Typed string
		Most, Terms, Group    string
		NotEnforced, Noted    string
		Undoable              bool
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%+v", seen)
	if !seen.Moves {
		t.Error("the chart stands still under load")
	}
	if len(seen.Errors) > 0 {
		t.Errorf("the page's console: %v", seen.Errors)
	}
	dragged, keyed := rate(t, seen.Dragged), rate(t, seen.Keyed)
	if dragged >= 40e6 || keyed >= dragged || seen.Typed != "8000000" {
		t.Errorf("40 Mbit/s dragged down to %s, by key to %s, typed to %s", seen.Dragged, seen.Keyed, seen.Typed)
	}
	if seen.Most != "8mbit" || seen.Terms != "8mbit 300 true" || seen.Group != "2mbit 20mbit false" {
		t.Errorf("what is promised: %+v", seen)
	}
	if !strings.Contains(seen.NotEnforced, "tap-web has an ingress qdisc of another program") || !strings.Contains(seen.Noted, "not enforced: tap-web has") || seen.Undoable {
		t.Errorf("what another program did: %q, in the journal %q; a note can be undone: %v", seen.NotEnforced, seen.Noted, seen.Undoable)
	}
	if v := h.listed(); v.Tx.Guarantee != 8e6 || v.Tx.Weight != 300 || v.Tx.Priority != 1 || v.Rx.Guarantee != 0 {
		t.Errorf("listed: %+v", v)
	}
	if out := h.sluice("group"); !strings.Contains(out, "2mbit") || !strings.Contains(out, "20mbit") {
		t.Errorf("groups:\n%s", out)
	}
	if got := h.kernel(); got != [2]uint64{8e6, 40e6} {
		t.Errorf("the kernel holds %v", got)
	}
	time.Sleep(100 * time.Millisecond)
	if r := h.flow(); r > 10e6 {
		t.Errorf("the flow has %.1f Mbit/s of 8", r/1e6)
	}
}

func rate(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
