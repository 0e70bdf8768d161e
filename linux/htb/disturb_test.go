package htb

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice"
)

// toldOnce waits for the one report that comes within a second, and says that no
// other follows.
func (w *watch) toldOnce(what string) (r sluice.Repair) {
	w.Helper()
	time.Sleep(quiet)
	_ = w.astray() // a reader has the driver look again
	time.Sleep(quiet)
	told := w.reports()
	if len(told) != 1 || told[0].Key != w.vif.Key() {
		w.Fatalf("%s: reported %+v, want one of %s", what, told, w.vif.Key())
	}
	return told[0]
}

func (w *watch) problem() (why string) {
	w.host.Do(func() { why = w.htb.Problems()[w.vif.Key()] })
	return why
}

// TestOthersFilters: a filter that ends the pipeline before ours is told once
// and left alone; once it has gone, that is told. One that does not end it is
// no problem.
func TestOthersFilters(t *testing.T) {
	w := newWatch(t)
	time.Sleep(quiet)
	w.reports()
	const match = "u32 match u32 0 0"
	for _, c := range []struct{ filter, words string }{
		{"pref 5 protocol all " + match + " action mirred egress mirror dev lo pass", "mirred passes what it matches"},
		{"pref 5 protocol all " + match + " action mirred egress mirror dev lo pipe", "mirred passes what it matches"},
		{"pref 5 protocol all " + match + " classid 1:1", "without an action, which passes what it matches"},
		{"pref 5 protocol all " + match + " action mirred egress redirect dev lo", "mirred takes what it matches elsewhere"},
		{"direct-action", "whose program may pass frames"},
		{"pref 5 protocol all " + match + " action mirred egress mirror dev lo continue", ""},
		{"pref 5 protocol all " + match + " action mirred egress mirror dev lo drop", ""},
		{"pref 65521 protocol all " + match + " action mirred egress mirror dev lo pass", ""},
		{"pref 5 chain 7 protocol all " + match + " action mirred egress mirror dev lo pass", ""},
	} {
		for _, side := range []string{"ingress", "egress"} {
			what := side + " " + c.filter
			if c.filter == "direct-action" {
				w.directAction(side)
			} else {
				w.run(append([]string{"tc", "filter", "add", "dev", "vif0", side}, fields(c.filter)...)...)
			}
			others := w.others()
			if c.words == "" {
				time.Sleep(quiet)
				if told, why := w.reports(), w.problem(); len(told) > 0 || why != "" {
					t.Errorf("%s: reported %+v, a problem %q", what, told, why)
				}
			} else if r := w.toldOnce(what); r.Enforced || !strings.Contains(r.Text, c.words) || !strings.Contains(r.Text, "vif0 "+side) || r.Text != w.problem() {
				t.Errorf("%s: %+v, and the problem %q", what, r, w.problem())
			}
			if now := w.others(); now != others {
				t.Errorf("%s: another program's filters were\n%s\nand are\n%s", what, others, now)
			}
			pref := "5"
			if strings.HasPrefix(c.filter, "pref 65521") {
				pref = "65521"
			}
			del := []string{"tc", "filter", "del", "dev", "vif0", side, "pref", pref}
			if strings.Contains(c.filter, "chain 7") {
				del = append(del, "chain", "7")
			}
			w.run(del...)
			if c.words == "" {
				time.Sleep(quiet)
				if told := w.reports(); len(told) > 0 {
					t.Errorf("%s, removed: reported %+v", what, told)
				}
			} else if r := w.toldOnce(what + ", removed"); !r.Enforced || w.problem() != "" {
				t.Errorf("%s, removed: %+v, and the problem %q", what, r, w.problem())
			}
			if left := w.astray(); left != "" {
				t.Errorf("%s: %s", what, left)
			}
		}
	}
}

// TestIFBNotToBeHad: while another device has the IFB's name nothing can be
// shaped, and every vif that should be says so. Once it has gone, all is made
// again.
func TestIFBNotToBeHad(t *testing.T) {
	w := newWatch(t)
	time.Sleep(quiet)
	w.reports()
	w.htb.lock <- struct{}{} // it does not look before the name is taken
	w.run("sh", "-c", "ip link del sluice-tx && ip link add sluice-tx type bridge")
	w.htb.unlock()
	w.eventually("the vif says why it is not shaped", func() bool { return strings.Contains(w.problem(), "sluice-tx is not an IFB") })
	time.Sleep(quiet)
	told := w.reports()
	told = slices.DeleteFunc(told, func(r sluice.Repair) bool { return r.Key == "" && r.Enforced }) // the driver was quicker, and made one again
	if len(told) != 1 || told[0].Enforced || told[0].Text != w.problem() {
		t.Errorf("told %+v, and the problem is %q", told, w.problem())
	}
	w.reaches("a foreign sluice-tx")
	if _, err := w.htb.Set(t.Context(), w.state); err == nil {
		t.Error("set says that all is enforced")
	}
	if why := w.problem(); !strings.Contains(why, "sluice-tx is not an IFB") {
		t.Errorf("after a set that failed: %q", why)
	}
	w.run("ip", "link", "del", "sluice-tx")
	w.eventually("the problem goes", func() bool { return w.problem() == "" })
	if left := w.astray(); left != "" {
		t.Error(left)
	}
}

// TestIFBNotToBeHadAtStart: so it is where the name was taken while no daemon ran.
func TestIFBNotToBeHadAtStart(t *testing.T) {
	b := newBench(t)
	b.apply(20*mbit, 20*mbit)
	b.htb.Close()
	b.run("sh", "-c", "ip link del sluice-tx && ip link add sluice-tx type bridge")
	b.start()
	if _, err := b.htb.Set(t.Context(), b.state); err == nil {
		t.Error("set says that all is enforced")
	}
	b.reaches("a foreign sluice-tx")
	b.host.Do(func() {
		if c, ok, err := Lookup(b.vif.Device, sluice.Rx); err != nil || !ok {
			t.Errorf("the other direction has %+v, %v, %v", c, ok, err)
		}
	})
	b.run("ip", "link", "del", "sluice-tx")
	b.set()
	b.reaches("the IFB again")
}

// TestTCX: a program attached to the device itself runs before every filter, and
// tc does not show it. While it is there nothing is called enforced.
func TestTCX(t *testing.T) {
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		b := newBench(t)
		b.apply(20*mbit, 20*mbit)
		set := func() (why error) { // the kernel looks in the thread's namespace
			b.host.Do(func() {
				failed, err := b.htb.Set(t.Context(), b.state)
				why = errors.Join(err, failed[b.vif.Key()])
			})
			return why
		}
		var attached link.Link
		var lacks error
		b.host.Do(func() {
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "passes", Type: ebpf.SchedCLS, License: "GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			device, err := net.InterfaceByName("vif0")
			if err != nil {
				t.Fatal(err)
			}
			attached, lacks = link.AttachTCX(link.TCXOptions{Interface: device.Index, Program: p, Attach: at})
		})
		if lacks != nil {
			t.Skip("this kernel has no tcx: ", lacks)
		}
		if got := b.flow(b.vm, b.host, "192.0.2.1"); at == ebpf.AttachTCXIngress && got < 50e6 {
			t.Errorf("the program holds frames to %.0f", got)
		}
		if why := set(); why == nil || !strings.Contains(why.Error(), "passes) that may pass frames") {
			t.Errorf("%v: %v", at, why)
		}
		attached.Close()
		if why := set(); why != nil {
			t.Errorf("%v, gone: %v", at, why)
		}
	}
}

// others are the filters on both hooks of vif0, as tc shows them.
func (w *watch) others() string {
	w.Helper()
	return w.run("tc", "filter", "show", "dev", "vif0", "ingress") + w.run("tc", "filter", "show", "dev", "vif0", "egress")
}

// directAction puts a program whose answer is a verdict on a hook, as Cilium does.
func (w *watch) directAction(side string) {
	w.Helper()
	parent := uint32(netlink.HANDLE_MIN_INGRESS)
	if side == "egress" {
		parent = netlink.HANDLE_MIN_EGRESS
	}
	w.host.Do(func() {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
		if err != nil {
			w.Error(err)
			return
		}
		defer p.Close()
		device, err := netlink.LinkByName("vif0")
		if err == nil {
			err = netlink.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: device.Attrs().Index, Parent: parent, Handle: 1,
				Priority: 5, Protocol: unix.ETH_P_ALL}, Fd: p.FD(), Name: "cil_from", DirectAction: true})
		}
		if err != nil {
			w.Error(err)
		}
	})
}

// TestDeviceGoesAndComes: a device that goes is told once, and one that comes
// under its name is shaped at once.
func TestDeviceGoesAndComes(t *testing.T) {
	w := newWatch(t)
	time.Sleep(quiet)
	w.reports()
	w.run("ip", "link", "del", "vif0")
	if r := w.toldOnce("the device is deleted"); r.Enforced || !strings.Contains(r.Text, "no device vif0 any more") {
		t.Errorf("%+v", r)
	}
	if n := w.classes(); n != 2 {
		t.Errorf("%d classes are left, want both roots", n)
	}
	begin := time.Now()
	w.host.Veth("vif0", "192.0.2.1/24", w.vm, "eth0", "192.0.2.2/24")
	w.mended("the device is made again")
	if took := time.Since(begin); took > time.Second {
		t.Errorf("after %v", took)
	}
	w.once("the device is made again", w.vif.Key())

	w.run("ip", "link", "set", "vif0", "down")
	w.run("ip", "link", "set", "vif0", "name", "vif7")
	if r := w.toldOnce("the device is renamed"); r.Enforced {
		t.Errorf("%+v", r)
	}
	w.vif.Device = "vif7"
	w.apply(20*mbit, 60*mbit)
	if left := w.astray(); left != "" {
		t.Errorf("set under its new name: %s", left)
	}
	time.Sleep(quiet)
	w.reports()
	w.run("ip", "link", "set", "vif7", "name", "vif0")
	if r := w.toldOnce("the device is renamed back"); r.Enforced {
		t.Errorf("%+v", r)
	}
	w.run("ip", "link", "set", "vif0", "name", "vif7")
	w.mended("the device has its name again")
	w.once("the device has its name again", w.vif.Key())
}

// TestStartAfterLoss: filters that lead to an IFB that is down or gone cut the
// VM off. A driver that starts mends that, whatever it is told to enforce.
func TestStartAfterLoss(t *testing.T) {
	for _, loss := range []string{"ip link set sluice-tx down", "ip link del sluice-tx", "ip link del sluice-tx; ip link add sluice-tx up type ifb", "tc qdisc del dev sluice-tx root",
		"tc filter del dev sluice-tx parent 51ce: pref 1", "tc class del dev sluice-tx classid 51ce:10"} {
		for _, lost := range []bool{false, true} { // the state
			b := newBench(t)
			b.apply(20*mbit, 20*mbit)
			b.htb.Close()
			b.run("sh", "-c", loss)
			b.start()
			if lost {
				b.state.VIFs = nil
			}
			b.set()
			b.reaches(loss)
			if lost {
				b.eventually("all is released after "+loss, b.htb.empty)
				if left := b.run("tc", "qdisc", "show", "dev", "vif0"); strings.Contains(left, "clsact") {
					t.Errorf("%s: %s", loss, left)
				}
			} else if w := (&watch{bench: b}); w.astray() != "" {
				t.Errorf("%s: %s", loss, w.astray())
			}
		}
	}
}

// TestOtherChain: what is in another chain does not run before ours, also where
// it was there first.
func TestOtherChain(t *testing.T) {
	b := newBench(t)
	b.run("tc", "qdisc", "add", "dev", "vif0", "clsact")
	b.run("tc", "filter", "add", "dev", "vif0", "ingress", "pref", "5", "chain", "7", "protocol", "all", "u32", "match", "u32", "0", "0",
		"action", "mirred", "egress", "mirror", "dev", "lo", "pass")
	b.apply(20*mbit, 20*mbit)
	if why := b.htb.Problems(); len(why) > 0 {
		t.Error(why)
	}
}

// TestCleanUpAfterLoss: whatever is missing, all that is ours goes.
func TestCleanUpAfterLoss(t *testing.T) {
	for _, loss := range []string{"ip link set sluice-tx down", "ip link del sluice-tx", "tc qdisc del dev sluice-tx root",
		"tc filter del dev sluice-tx parent 51ce: pref 1", "tc filter del dev vif0 ingress", "tc qdisc del dev vif0 clsact", "ip link del vif0"} {
		b := newBench(t)
		found := b.run("tc", "qdisc", "show")
		b.apply(20*mbit, 20*mbit)
		b.htb.Close()
		b.run("sh", "-c", loss)
		b.host.Do(func() {
			if err := CleanUp(t.Context()); err != nil {
				t.Errorf("%s: %v", loss, err)
			}
		})
		if left := b.run("tc", "qdisc", "show"); left != found && loss != "ip link del vif0" || strings.Contains(left, "51ce") {
			t.Errorf("%s: found\n%s\nleft\n%s", loss, found, left)
		}
		if left := b.run("ip", "-o", "link", "show", "type", "ifb"); left != "" {
			t.Errorf("%s: left %s", loss, left)
		}
	}
}

// reaches says that the VM reaches the host and is answered.
func (b *bench) reaches(when string) {
	b.Helper()
	for end := time.Now().Add(time.Second); ; {
		var err error
		b.vm.Do(func() { _, err = net.DialTimeout("tcp", "192.0.2.1:9", 200*time.Millisecond) })
		if errors.Is(err, unix.ECONNREFUSED) { // the host's answer
			return
		}
		if time.Now().After(end) {
			b.Errorf("%s: the VM is cut off", when)
			return
		}
	}
}
