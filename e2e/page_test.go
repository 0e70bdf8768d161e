package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
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
	var out, said []byte
	h.ns.Do(func() {
		cmd := exec.Command("timeout", "150", "node", "page.mjs", "http://127.0.0.1:8511/", strings.TrimSpace(string(token)), pictures(t, h.path("page.png")))
		out, said, err = browse(cmd)
	})
	close(stop)
	<-flowing
	if err != nil {
		t.Fatalf("%s\nthe browser: %v\n%s", h.log, err, said)
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
		t.Errorf("what is guaranteed: %+v", seen)
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

// browse runs a test of the page, and has apart what it printed and what it complained of.
func browse(cmd *exec.Cmd) (out, said []byte, err error) {
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err = cmd.Output()
	return out, complaints.Bytes(), err
}

func rate(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// pictures is where the browser puts what it saw: PICTURES/page.png where that
// is set, so that README and docs/ show what the test did.
func pictures(t *testing.T, otherwise string) string {
	t.Helper()
	if dir := os.Getenv("PICTURES"); dir != "" {
		return filepath.Join(dir, "page.png")
	}
	return otherwise
}

// TestPageOfMany does on a page of forty VMs what a person does who has so many.
func TestPageOfMany(t *testing.T) {
	h := newHost(t, "")
	h.crowd("100mbit")
	h.ns.Do(func() { h.ip("link add tap-gone type veth peer name gone\nlink set tap-gone master br0 up") })
	settings, err := os.ReadFile(h.path("sluice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("sluice.toml"), append(settings, "\n[[vm]]\nname = \"gone\"\n[[vm.vif]]\ndevice = \"tap-gone\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.ready()
	h.sluice("set", "gone", "5mbit")
	h.ns.Do(func() { h.ip("link del tap-gone") })
	for group, its := range map[string][]string{"shop": {"shop-1", "shop-2", "shop-3", "db-1"}, "ci": {"ci-1", "ci-2", "ci-3", "ci-4"}} {
		h.sluice("group", "set", group, "60mbit", "--guarantee", "12mbit")
		for _, vm := range its {
			h.sluice("set", vm, "--group", group)
		}
	}
	h.sluice("set", "db-1", "--guarantee", "8mbit")
	h.sluice("set", "backup", "--weight", "20")
	h.sluice("set", "video-1", "30mbit", "--guarantee", "10mbit", "--weight", "400")
	h.sluice("set", "dns-1", "--guarantee", "1mbit", "--priority", "1")
	h.sluice("set", "mail", "2mbit")
	for i := range neighbours {
		rate := []float64{.05e6, .4e6, 1.5e6, .1e6}[i%4]
		switch neighbours[i] {
		case "video-1", "video-2", "backup", "files-1":
			rate = 200e6 // all that they get
		case "mail":
			rate = 3e6
		}
		defer h.talk(i, rate)()
	}
	token, err := os.ReadFile(h.path("state/token"))
	if err != nil {
		t.Fatal(err)
	}
	var out, said []byte
	h.ns.Do(func() {
		cmd := exec.Command("timeout", "180", "node", "many.mjs", "http://127.0.0.1:8511/", strings.TrimSpace(string(token)), pictures(t, h.path("page.png")))
		out, said, err = browse(cmd)
	})
	if err != nil {
		t.Fatalf("%s\nthe browser: %v\n%s%s", h.log, err, out, said)
	}
	var seen struct {
		Errors, English                              []string
		Absent, Rows, Scrolls, Folded, Tabs          int
		Moved, Unmoved, Drafted, Connections, Hidden int
		Found, Heaviest, Sorted, First               string
		Applied, Confirmed, Refused                  string
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%+v", seen)
	if len(seen.Errors) > 0 {
		t.Errorf("the page's console, and axe-core: %q", seen.Errors)
	}
	if seen.Rows != 40 || seen.Scrolls > 0 {
		t.Errorf("of 40 rows %d are there at 1366x768, and the page is %d px too high", seen.Rows, seen.Scrolls)
	}
	if seen.Absent != 0 || seen.Found != "db-1 db-2" || seen.Heaviest != "video-1" || seen.Sorted != "descending" || seen.Folded != 4 {
		t.Errorf("forgotten, searched, sorted, folded: %+v", seen)
	}
	if !strings.Contains(seen.First, "print") || !strings.Contains(seen.First, "not enforced") {
		t.Errorf("what needs a look: %q", seen.First)
	}
	if seen.Moved == 0 || seen.Unmoved != 0 || seen.Drafted != 0 {
		t.Errorf("while a line is moved, and a draft is made: %+v", seen)
	}
	if !strings.Contains(seen.Refused, "7mbit") {
		t.Errorf("a draft that does not fit: %q", seen.Refused)
	}
	if seen.Applied != "video-2 5 true 600, video-1 12 true 600" {
		t.Errorf("the draft was applied as %q", seen.Applied)
	}
	if !strings.HasPrefix(seen.Confirmed, "4000000 ") || strings.Contains(seen.Confirmed, "undefined") {
		t.Errorf("confirmed: %q", seen.Confirmed)
	}
	if seen.Tabs != 7 || seen.Connections > 6 {
		t.Errorf("%d tabs by %d connections", seen.Tabs, seen.Connections)
	}
	if seen.Hidden < 1 {
		t.Errorf("a hidden tab keeps its connection: %d fewer", seen.Hidden)
	}
	if len(seen.English) > 0 {
		t.Errorf("English on the Chinese page: %q", seen.English)
	}
}
