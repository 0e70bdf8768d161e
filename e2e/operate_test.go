package e2e

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice"
)

// sequence sends numbered datagrams from the VM, a thousand a second, until
// it is ended; end returns how many were sent and how many came.
func (h *host) sequence() (end func() (sent, came uint64)) {
	h.Helper()
	var in, out net.Conn
	var err error
	var l *net.UDPConn
	h.ns.Do(func() { l, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}) })
	if err != nil {
		h.Fatal(err)
	}
	in = l
	_ = l.SetReadBuffer(4 << 20)
	h.vm.Do(func() { out, err = net.Dial("udp", l.LocalAddr().String()) })
	if err != nil {
		h.Fatal(err)
	}
	var sent, came atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		for buf := make([]byte, 2000); ; {
			if _, err := in.Read(buf); err != nil {
				return
			}
			came.Add(1)
		}
	}()
	go func() {
		defer close(stopped)
		buf := make([]byte, 100)
		for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
			select {
			case <-stop:
				tick.Stop()
				return
			default:
			}
			binary.BigEndian.PutUint64(buf, sent.Load())
			if _, err := out.Write(buf); err == nil {
				sent.Add(1)
			}
		}
	}()
	return func() (uint64, uint64) {
		close(stop)
		<-stopped
		time.Sleep(300 * time.Millisecond)
		in.Close()
		out.Close()
		return sent.Load(), came.Load()
	}
}

// A running daemon takes a backup back: settings, link and kernel are what
// they were, no packet is lost, and what was kept before is still there.
func TestRestoreLive(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	h.sluice("group", "set", "gold", "400mbit", "--guarantee", "100mbit")
	h.set("web", "0", "50mbit", "--guarantee", "20mbit", "--group", "gold")
	h.sluice("capacity", "2gbit")
	file := h.path("backup")
	h.sluice("backup", file)
	h.set("web", "0", "300mbit", "--guarantee", "0bit", "--group", "host")
	h.sluice("group", "delete", "gold")
	h.sluice("capacity", "3gbit")

	end := h.sequence()
	time.Sleep(200 * time.Millisecond)
	begin := time.Now()
	out := h.sluice("restore", file)
	took := time.Since(begin)
	time.Sleep(200 * time.Millisecond)
	sent, came := end()
	t.Logf("restored in %v; %d of %d packets came", took, came, sent)
	if sent == 0 || came != sent {
		t.Errorf("of %d packets %d came while it was restored", sent, came)
	}
	if !strings.Contains(out, "settings of 1 vifs and 1 groups") {
		t.Errorf("it says %q", out)
	}
	if v := h.listed(); v.Tx.Limit != 50*sluice.Mbit || v.Tx.Guarantee != 20*sluice.Mbit || v.Group != "gold" {
		t.Errorf("listed %+v", v)
	}
	if got := h.sluice("capacity"); !strings.Contains(got, "tx  2gbit") {
		t.Errorf("the link has %s", got)
	}
	h.agree("restored", 50e6)
	if got := h.sluice("changes", "-n", "1"); !strings.Contains(got, "restored from the backup of") {
		t.Errorf("the journal says %s", got)
	}
	if c := h.set("web", "0", "60mbit"); !c.Verified {
		t.Errorf("%+v", c)
	}
	if _, err := os.Stat(filepath.Join(h.path("state"), "store.before-restore")); err != nil {
		t.Error(err)
	}

	// What is no backup changes nothing.
	if err := os.WriteFile(file, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, text, status := h.try("restore", file); status != 2 || !strings.Contains(text, "nothing was changed") {
		t.Errorf("%d %s", status, text)
	}
	h.agree("after junk", 60e6)

	// It holds over a restart, and a kill in the middle of one.
	h.end()
	h.start()
	h.ready()
	h.agree("restarted", 60e6)
}

// A file says what a host has: what is different is shown and made, all or
// none, and a second time there is nothing to do.
func TestApply(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	file := h.path("host.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("groups:\n- name: gold\n  limit: 400mbit\n  guarantee: 100mbit\nvifs:\n- vm: web\n  vif: 0\n  group: gold\n  limit: 70mbit\n  guarantee: 30mbit\n")
	if out := h.sluice("apply", "-f", file, "--dry-run"); !strings.Contains(out, "+ group gold: 400mbit guarantee 100mbit") || !strings.Contains(out, "nothing was changed") {
		t.Errorf("%s", out)
	}
	if v := h.listed(); v.Rx.Limit != sluice.Unlimited || h.kernel() != [2]uint64{} {
		t.Errorf("a rehearsal left %+v, the kernel %v", v, h.kernel())
	}
	if out := h.sluice("apply", "-f", file); !strings.Contains(out, "2 verified") {
		t.Errorf("%s", out)
	}
	if v := h.listed(); v.Group != "gold" || v.Rx.Guarantee != 30*sluice.Mbit || v.Rx.Limit != 70*sluice.Mbit {
		t.Errorf("listed %+v", v)
	}
	if out := h.sluice("apply", "-f", file); !strings.Contains(out, "has what the file says") {
		t.Errorf("%s", out)
	}
	export := h.sluice("export")
	write(export)
	if out := h.sluice("apply", "-f", file, "--prune"); !strings.Contains(out, "has what the file says") {
		t.Errorf("what was exported is different: %s\n%s", out, export)
	}
	// None of it, where one does not fit.
	write("capacity: {tx: 20gbit, rx: 20gbit}\ngroups:\n- name: gold\n  guarantee: 10mbit\n- name: more\n  guarantee: 16gbit\n")
	if _, text, status := h.try("apply", "-f", file); status != 4 {
		t.Errorf("%d %s", status, text)
	}
	if again := h.sluice("export"); strings.SplitN(again, "\n", 2)[1] != strings.SplitN(export, "\n", 2)[1] {
		t.Errorf("the host has\n%s\nand had\n%s", again, export)
	}
	// And nothing, where the file names nothing.
	write("")
	if out := h.sluice("apply", "-f", file, "--prune"); !strings.Contains(out, "- group gold") {
		t.Errorf("%s", out)
	}
	if v := h.listed(); v.Rx.Limit != sluice.Unlimited || h.kernel() != [2]uint64{} {
		t.Errorf("pruned to %+v, the kernel %v", v, h.kernel())
	}
	if out := h.sluice("group", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("groups: %s", out)
	}
}

// Who is logged in through the very VM that is limited has to confirm it.
func TestOwnPath(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	h.flow() // so that the bridge has heard the VM
	own := func(args ...string) (text string) {
		t.Helper()
		h.ns.Do(func() { _, text, _ = h.try(args...) })
		return text
	}
	t.Setenv("SSH_CONNECTION", "192.0.2.2 50000 192.0.2.1 22")
	if text := own("set", "web", "10mbit"); !strings.Contains(text, "your own connection, from 192.0.2.2, comes through tap-web of web vif 0") {
		t.Errorf("it says %q", text)
	}
	if out := h.sluice("changes", "-n", "1"); !strings.Contains(out, "unless confirmed") {
		t.Errorf("the change is to last: %s", out)
	}
	if text := own("set", "web", "unlimited"); text != "" {
		t.Errorf("more than there was: %q", text)
	}
	t.Setenv("SSH_CONNECTION", "127.0.0.1 50000 127.0.0.1 22")
	if text := own("set", "web", "20mbit"); text != "" {
		t.Errorf("from this host itself: %q", text)
	}
}
