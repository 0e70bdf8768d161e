package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

// agree fails the test unless store and kernel both hold limit.
func (h *host) agree(when string, limit uint64) {
	h.Helper()
	v, kernel := h.listed(), h.kernel()
	for v.State != sluice.Connected {
		v = h.listed()
	}
	if uint64(v.Tx.Limit) != limit || uint64(v.Rx.Limit) != limit || kernel != [2]uint64{limit, limit} {
		h.Errorf("%s: the store says %s and %s, the kernel %v; both should say %d", when, v.Tx.Limit, v.Rx.Limit, kernel, limit)
	}
	if out := h.sluice("changes"); strings.Contains(out, "pending") {
		h.Errorf("%s: the journal:\n%s", when, out)
	}
}

// TestFullDisk refuses changes in words while the state directory's disk is
// full, and takes them again when it is not.
func TestFullDisk(t *testing.T) {
	h := newHost(t, "")
	state := h.path("state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(); _ = unix.Unmount(state, unix.MNT_DETACH) })
	h.start()
	h.ready()
	h.set("web", "0", "100mbit")

	filler := filepath.Join(state, "filler")
	fill := func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for block := make([]byte, 64<<10); err == nil; {
			_, err = f.Write(block)
		}
	}
	fill()
	if _, text, status := h.try("set", "web", "0", "5mbit"); status == 0 || !strings.Contains(text, "full") {
		t.Errorf("on a full disk: %d %s", status, text)
	}
	h.agree("on a full disk", 100e6)

	_ = h.daemon.Process.Signal(unix.SIGTERM)
	h.ended()
	fill()
	h.start() // with the disk still full
	h.ready()
	h.agree("started on a full disk", 100e6)
	if _, text, status := h.try("set", "web", "0", "5mbit"); status == 0 || !strings.Contains(text, "full") || !strings.Contains(text, state) {
		t.Errorf("started on a full disk: %d %s", status, text)
	}
	h.end()
	fill()
	h.start() // and after a crash
	h.ready()
	h.agree("after a crash on a full disk", 100e6)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	text, status := "", 1
	for tries := 0; status != 0; tries++ {
		if tries == 50 {
			t.Fatalf("there is room again, and 5 s later: %s", text)
		}
		time.Sleep(100 * time.Millisecond)
		_, text, status = h.try("set", "web", "0", "6mbit")
	}
	h.agree("after a change", 6e6)
}

// TestTwoPeople decide on the same sight at once: one wins, the other is told.
func TestTwoPeople(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	h.set("web", "0", "100mbit")
	seen := fmt.Sprint(h.listed().Revision)
	type answer struct {
		text   string
		status int
	}
	answers := make(chan answer, 2)
	for _, rate := range []string{"11mbit", "22mbit"} {
		go func() {
			cmd := exec.Command(h.binary, "--socket", h.path("socket"), "set", "web", "0", rate, "--revision", seen)
			out, _ := cmd.CombinedOutput()
			answers <- answer{string(out), cmd.ProcessState.ExitCode()}
		}()
	}
	a, b := <-answers, <-answers
	if a.status != 0 {
		a, b = b, a
	}
	if a.status != 0 || b.status != 4 || !strings.Contains(b.text, "changed") {
		t.Errorf("one was answered %d %s, the other %d %s", a.status, a.text, b.status, b.text)
	}
	winner := uint64(11e6)
	if strings.Contains(a.text, "22mbit") {
		winner = 22e6
	}
	h.agree("after two at once", winner)
}

// TestVanishingVM takes a VM's device away in the middle of a change: that is
// said, and the VM's old setting is there again when it comes back.
func TestVanishingVM(t *testing.T) {
	h := newHost(t, "faults")
	h.start("SLUICE_PAUSE=before-apply")
	h.ready()
	h.set("web", "0", "100mbit")
	go func() {
		time.Sleep(500 * time.Millisecond) // the daemon stands still for a second before it applies
		h.ns.Do(func() {
			if dev, err := netlink.LinkByName("tap-web"); err == nil {
				_ = netlink.LinkDel(dev)
			}
		})
	}()
	_, text, status := h.try("set", "web", "0", "5mbit")
	if (status != 3 && status != 5) || !strings.Contains(text, "tap-web") {
		t.Errorf("the VM vanished and the answer was %d %s", status, text)
	}
	t.Log(text)
	if out := h.sluice("changes"); strings.Contains(out, "pending") {
		t.Errorf("the journal:\n%s", out)
	}
	h.ns.Veth("tap-web", "", h.vm, "eth1", "192.0.2.3/24")
	h.ns.Do(func() {
		dev, err := netlink.LinkByName("tap-web")
		if err != nil {
			t.Fatal(err)
		}
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			t.Fatal(err)
		}
		_ = netlink.LinkSetMaster(dev, bridge)
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if out := h.sluice("list"); strings.Contains(out, "tap-web") && h.kernel() == [2]uint64{100e6, 100e6} {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the VM is back and the kernel holds %v", h.kernel())
		}
	}
	h.agree("back again", 100e6)
}

// TestNotRoot says what needs root, and starts nothing.
func TestNotRoot(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	binary := filepath.Join("/tmp", "sluice-test-"+fmt.Sprint(os.Getpid()))
	if b, err := os.ReadFile(h.binary); err != nil || os.WriteFile(binary, b, 0o755) != nil {
		t.Fatal(err)
	}
	defer os.Remove(binary)
	if err := os.Chmod(h.path("socket"), 0o666); err != nil { // peer credentials decide, not this
		t.Fatal(err)
	}
	for d := h.dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	for _, x := range []struct {
		args, says string
		status     int
	}{
		{"serve", "root", 4},
		{"doctor --cleanup", "root", 4},
		{"set web 0 1mbit", "", 4},
	} {
		cmd := exec.Command(binary, append([]string{"--socket", h.path("socket")}, strings.Fields(x.args)...)...)
		cmd.SysProcAttr = nobody
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != x.status || !strings.Contains(string(out), x.says) {
			t.Errorf("sluice %s as nobody: %d %s", x.args, status, out)
		}
	}
	if h.kernel() != [2]uint64{} {
		t.Errorf("the kernel holds %v", h.kernel())
	}
}

// TestPortInUse: whoever has the page's port keeps nothing else from going on;
// log and doctor name it, and the page opens when the port is free.
func TestPortInUse(t *testing.T) {
	h := newHost(t, "")
	var l net.Listener
	var err error
	h.ns.Do(func() { l, err = net.Listen("tcp", "127.0.0.1:8511") })
	if err != nil {
		t.Fatal(err)
	}
	h.start()
	h.ready()
	h.set("web", "0", "40mbit")
	if !strings.Contains(h.log.String(), "8511") || !strings.Contains(h.log.String(), "in use") {
		t.Errorf("it says\n%s", h.log)
	}
	if text, _, _ := h.try("doctor"); !strings.Contains(text, "127.0.0.1:8511") {
		t.Errorf("the doctor says\n%s", text)
	}
	l.Close()
	for tries := 0; !strings.Contains(h.log.String(), "the page is open"); tries++ {
		if tries == 100 {
			t.Fatalf("it does not open:\n%s", h.log)
		}
		time.Sleep(100 * time.Millisecond)
	}

	// And who is there twice is told too.
	h.ns.Do(func() {
		_, text, status := h.try("serve", "--state-dir", h.path("other"), "--config", h.path("sluice.toml"))
		if status == 0 || !strings.Contains(text, h.path("socket")) {
			t.Errorf("a second daemon: %d %s", status, text)
		}
	})
}

// TestHostileGuests harm nobody but their own line.
func TestHostileGuests(t *testing.T) {
	h := newHost(t, "")
	deep := strings.Repeat(`{"samples":[`, 100_000)
	settings := "bridge = \"br0\"\ncapacity = \"10gbit\"\n"
	kinds := map[string]http.HandlerFunc{
		"garbage": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x00\xff not JSON") },
		"deep":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, deep) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for block := bytes.Repeat([]byte(`{"database":"`), 1<<12); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		},
		"slow": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		},
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"liar": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"database":"x","samples":[{"id":1,"at":%q,"span_ns":1000000000,"nics":[{"name":"eth0","mac":"02:00:00:00:00:01","tx":{"bytes":18446744073709551615}}]}]}`, time.Now().Format(time.RFC3339))
		},
	}
	n := 10
	for name, handler := range kinds {
		peer := fmt.Sprint("eth", n)
		h.ns.Veth("tap-"+name, "", h.vm, peer, fmt.Sprintf("192.0.2.%d/24", n))
		n++
		h.ns.Do(func() {
			dev, err := netlink.LinkByName("tap-" + name)
			if err != nil {
				t.Fatal(err)
			}
			bridge, _ := netlink.LinkByName("br0")
			_ = netlink.LinkSetMaster(dev, bridge)
		})
		address := "unix:" + h.path(name+".sock")
		network, at := "unix", h.path(name+".sock")
		if name != "silent" { // that one on a port of QEMU's, the rest over TCP
			network, at = "tcp", "127.0.0.1:0"
		}
		var l net.Listener
		var err error
		h.ns.Do(func() { l, err = net.Listen(network, at) })
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			address = l.Addr().String()
		}
		server := &http.Server{Handler: handler}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		settings += fmt.Sprintf("[[vm]]\nname = %q\ncollector = %q\n[[vm.vif]]\ndevice = %q\n", name, address, "tap-"+name)
	}
	settings += "[[vm]]\nname = \"web\"\n[[vm.vif]]\ndevice = \"tap-web\"\n"
	if err := os.WriteFile(h.path("sluice.toml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.ready()
	worst := time.Duration(0)
	for range 30 {
		begin := time.Now()
		h.set("web", "0", "100mbit")
		worst = max(worst, time.Since(begin))
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("the slowest change beside them took %s, with the program's start", worst)
	var all []sluice.VIFStatus
	if err := json.Unmarshal([]byte(h.sluice("list", "-o", "json")), &all); err != nil || len(all) != len(kinds)+1 {
		t.Fatalf("listed %+v, %v", all, err)
	}
	for _, v := range all {
		if v.Source != sluice.SourceHost || (v.VM == "web") != (v.Problem == "") {
			t.Errorf("%s: source %s, problem %q", v.VM, v.Source, v.Problem)
		}
		t.Logf("%s: %s", v.VM, v.Problem)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.daemon.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kb); err != nil || kb > 200_000 {
		t.Errorf("the daemon's memory came to %d kB, %v", kb, err)
	}
}
