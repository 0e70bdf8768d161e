package htb

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice"
	"sluice/linux/netnstest"
)

// bench is a host namespace with one vif, vif0, whose VM is another namespace.
type bench struct {
	*testing.T
	host, vm *netnstest.NS
	htb      *Driver
	vif      sluice.VIF
	state    sluice.Effective
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, host: netnstest.New(t), vm: netnstest.New(t), vif: sluice.VIF{VM: "web", Device: "vif0"},
		state: sluice.Effective{Capacity: sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited}}}
	b.host.Veth("vif0", "192.0.2.1/24", b.vm, "eth0", "192.0.2.2/24")
	b.start()
	return b
}

// start begins a driver, as a daemon that starts does.
func (b *bench) start() {
	b.Helper()
	if b.htb != nil {
		b.htb.Close()
	}
	b.host.Do(func() {
		h, err := New(slog.New(slog.DiscardHandler), Ethernet)
		if err != nil {
			b.Fatal(err)
		}
		b.htb = h
	})
	h := b.htb
	b.Cleanup(h.Close)
}

// set has the driver enforce b.state.
func (b *bench) set() {
	b.Helper()
	failed, err := b.htb.Set(context.Background(), b.state)
	if err != nil || len(failed) > 0 {
		b.Fatal(err, failed)
	}
}

func (b *bench) must(want sluice.Allocations) {
	b.Helper()
	b.state.VIFs = map[string]sluice.Bound{b.vif.Key(): {VIF: b.vif, Want: want}}
	b.set()
}

func (b *bench) apply(tx, rx sluice.Rate) {
	b.Helper()
	b.must(both(tx, rx))
}

// release lets the vif go, and waits until what waited was sent.
func (b *bench) release() {
	b.Helper()
	b.state.VIFs = nil
	b.set()
	b.eventually("all is released", b.htb.empty)
}

func (b *bench) eventually(what string, so func() bool) {
	b.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("never: %s", what)
		}
	}
}

func both(tx, rx sluice.Rate) sluice.Allocations {
	a := sluice.UnshapedBoth
	a.Tx.Limit, a.Rx.Limit = tx, rx
	return a
}

// shown is what tc shows of the classes for tx, and of the filters that lead
// to them. A flow of an fq_codel is a class to tc while a packet waits in it.
func (b *bench) shown() string {
	b.Helper()
	classes := regexp.MustCompile(`(?m)^class htb .*$`).FindAllString(b.run("tc", "class", "show", "dev", "sluice-tx"), -1)
	return strings.Join(classes, "\n") + "\n" + b.run("tc", "filter", "show", "dev", "vif0", "ingress")
}

// run runs a command in the host's namespace.
func (b *bench) run(command ...string) string {
	b.Helper()
	var out []byte
	var err error
	b.host.Do(func() { out, err = exec.Command(command[0], command[1:]...).CombinedOutput() })
	if err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// flow sends from one namespace to the other for a second after a warm-up,
// and returns what arrived, in bit/s.
func (b *bench) flow(from, to *netnstest.NS, address string) float64 {
	b.Helper()
	var l net.Listener
	var err error
	to.Do(func() { l, err = net.Listen("tcp", address+":0") })
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var c net.Conn
	from.Do(func() { c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second) })
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	_ = s.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	io.Copy(io.Discard, s)
	const span = time.Second
	begin := time.Now()
	_ = s.SetReadDeadline(begin.Add(span))
	n, _ := io.Copy(io.Discard, s)
	return float64(n) * 8 / time.Since(begin).Seconds()
}

// passes holds a flow against what it should have. Where a busy machine was
// in the way it measures again: what is wrong is wrong every time.
func (b *bench) passes(what string, from, to *netnstest.NS, address string, want float64) {
	b.Helper()
	got := 0.0
	for range 4 {
		if got = b.flow(from, to, address); got >= 0.8*want && got <= 1.15*want {
			return
		}
		b.Logf("%s: %.2f Mbit/s, want about %.2f", what, got/1e6, want/1e6)
	}
	b.Errorf("%s: %.2f Mbit/s, want about %.2f", what, got/1e6, want/1e6)
}

// TestBothDirections shows that a limit is the VM's: tx is what it sends.
func TestBothDirections(t *testing.T) {
	b := newBench(t)
	b.apply(20_000_000, 60_000_000)
	b.passes("tx", b.vm, b.host, "192.0.2.1", 20e6*0.957)
	b.passes("rx", b.host, b.vm, "192.0.2.2", 60e6*0.957)
	b.apply(40_000_000, 10_000_000)
	b.passes("tx after the change", b.vm, b.host, "192.0.2.1", 40e6*0.957)
	b.passes("rx after the change", b.host, b.vm, "192.0.2.2", 10e6*0.957)
}

// TestLimitsKernelHolds reads back what HTB holds, at the ends of the range.
func TestLimitsKernelHolds(t *testing.T) {
	b := newBench(t)
	for _, r := range []sluice.Rate{sluice.MinLimit, 1_000_000, 5_000_000_000, 34_359_738_376, 400_000_000_000} {
		b.apply(r, r)
		for _, d := range sluice.Directions {
			c, ok, err := b.htb.conn.Class(b.ifb(d), handleOf(firstMinor))
			if err != nil || !ok || c.Ceil != bytesPerSecond(r) {
				t.Errorf("%s %s: the kernel holds %d byte/s (%v, %v)", d, r, c.Ceil, ok, err)
			}
		}
	}
}

// TestAdoption shows that a new daemon finds the vif's class again, and that
// the same value again writes nothing.
func TestAdoption(t *testing.T) {
	b := newBench(t)
	b.apply(20_000_000, 20_000_000)
	before := b.shown()
	b.start()
	b.apply(20_000_000, 20_000_000)
	after := b.shown()
	if before != after {
		t.Errorf("adopting changed the kernel:\n%s\nnow:\n%s", before, after)
	}
}

// TestReleaseLeavesAsFound compares what tc shows before and after.
func TestReleaseLeavesAsFound(t *testing.T) {
	b := newBench(t)
	b.run("tc", "qdisc", "add", "dev", "vif0", "clsact")
	b.run("tc", "filter", "add", "dev", "vif0", "ingress", "pref", "7", "protocol", "ip", "u32", "match", "u32", "0", "0",
		"action", "mirred", "egress", "mirror", "dev", "lo", "continue")
	show := func() string {
		return b.run("tc", "qdisc", "show", "dev", "vif0") + b.run("tc", "filter", "show", "dev", "vif0", "ingress") +
			b.run("tc", "filter", "show", "dev", "vif0", "egress")
	}
	found := show()
	b.apply(20_000_000, 20_000_000)
	if show() == found {
		t.Fatal("shaping left no trace")
	}
	b.release()
	if left := show(); left != found {
		t.Errorf("found:\n%s\nleft:\n%s", found, left)
	}
	if classes := b.run("tc", "class", "show", "dev", "sluice-rx"); strings.Contains(classes, "51ce:10") {
		t.Errorf("the class stayed:\n%s", classes)
	}
}

// TestOwnClsactGoes shows that a clsact of our making goes, also when another
// daemon than the one that made it releases the vif.
func TestOwnClsactGoes(t *testing.T) {
	b := newBench(t)
	found := b.run("tc", "qdisc", "show", "dev", "vif0")
	b.apply(20_000_000, 20_000_000)
	b.start()
	b.release()
	if left := b.run("tc", "qdisc", "show", "dev", "vif0"); left != found {
		t.Errorf("found %s, left %s", found, left)
	}
}

// TestCleanUp takes everything out, with a flow under way.
func TestCleanUp(t *testing.T) {
	b := newBench(t)
	found := b.run("tc", "qdisc", "show") + b.run("ip", "-o", "link", "show", "type", "ifb")
	b.apply(20_000_000, 20_000_000)
	b.flow(b.vm, b.host, "192.0.2.1")
	b.htb.Close() // a daemon that runs would make it all again
	b.host.Do(func() {
		if err := CleanUp(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if left := b.run("tc", "qdisc", "show") + b.run("ip", "-o", "link", "show", "type", "ifb"); left != found {
		t.Errorf("found:\n%s\nleft:\n%s", found, left)
	}
}

func (b *bench) ifb(d sluice.Direction) int {
	b.Helper()
	link, ok, err := b.htb.conn.LinkByName(ifbName(d))
	if err != nil || !ok {
		b.Fatal(ok, err)
	}
	return link.Index
}

// TestRefusals change nothing and say why.
func TestRefusals(t *testing.T) {
	b := newBench(t)
	gone := b.vif
	gone.Device = "vif9"
	try := func(v sluice.VIF) error {
		failed, err := b.htb.Set(context.Background(), sluice.Effective{Capacity: b.state.Capacity,
			VIFs: map[string]sluice.Bound{v.Key(): {VIF: v, Want: both(1e6, 1e6)}}})
		if err != nil {
			t.Fatal(err)
		}
		return failed[v.Key()]
	}
	if err := try(gone); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("a device that is not there: %v", err)
	}
	b.run("tc", "qdisc", "add", "dev", "vif0", "ingress")
	show := func() string { return b.run("tc", "qdisc", "show", "dev", "vif0") }
	found := show()
	err := try(b.vif)
	if sluice.CodeOf(err) != sluice.Unsupported || !strings.Contains(err.Error(), "ingress qdisc of another program") {
		t.Errorf("a foreign ingress qdisc: %v", err)
	}
	if left := show(); left != found {
		t.Errorf("found:\n%s\nleft:\n%s", found, left)
	}
}

// TestVanishedVIF shows that the class of a device that is gone is removed.
func TestVanishedVIF(t *testing.T) {
	b := newBench(t)
	b.apply(1_000_000, 1_000_000)
	b.run("ip", "link", "del", "vif0")
	b.release()
	if out := b.run("tc", "class", "show", "dev", "sluice-tx"); strings.Contains(out, "51ce:10") {
		t.Errorf("the class stayed:\n%s", out)
	}
}
