package linux

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

	"github.com/vishvananda/netlink"

	"sluice"
	"sluice/linux/netnstest"
)

// bench is a host namespace with one vif, vif0, whose VM is another namespace.
type bench struct {
	*testing.T
	host, vm *netnstest.NS
	htb      *HTB
	vif      sluice.VIF
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, host: netnstest.New(t), vm: netnstest.New(t), vif: sluice.VIF{VM: "web", Device: "vif0"}}
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
		h, err := NewHTB(slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		b.htb = h
	})
	h := b.htb
	b.Cleanup(h.Close)
}

func (b *bench) apply(tx, rx sluice.Rate) {
	b.Helper()
	if err := b.htb.Apply(context.Background(), b.vif, both(tx, rx)); err != nil {
		b.Fatal(err)
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
	for _, r := range []sluice.Rate{sluice.MinLimit, 1_000_000, 5_000_000_000, 34_359_738_376, 400_000_000_000, sluice.Unlimited} {
		b.apply(r, r)
		for _, d := range sluice.Directions {
			c, ok, err := b.htb.tc.class(b.htb.trees[d].ifindex, classHandle(minorStep))
			if err != nil || !ok || c.ceil != bytesPerSecond(r) {
				t.Errorf("%s %s: the kernel holds %d byte/s (%v, %v)", d, r, c.ceil, ok, err)
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
	b.run("tc", "filter", "add", "dev", "vif0", "ingress", "pref", "7", "protocol", "ip", "u32", "match", "u32", "0", "0", "flowid", "1:1")
	show := func() string {
		return b.run("tc", "qdisc", "show", "dev", "vif0") + b.run("tc", "filter", "show", "dev", "vif0", "ingress") +
			b.run("tc", "filter", "show", "dev", "vif0", "egress")
	}
	found := show()
	b.apply(20_000_000, 20_000_000)
	if show() == found {
		t.Fatal("shaping left no trace")
	}
	if err := b.htb.Release(context.Background(), b.vif); err != nil {
		t.Fatal(err)
	}
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
	if err := b.htb.Release(context.Background(), b.vif); err != nil {
		t.Fatal(err)
	}
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
	b.host.Do(func() {
		if err := CleanUp(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if left := b.run("tc", "qdisc", "show") + b.run("ip", "-o", "link", "show", "type", "ifb"); left != found {
		t.Errorf("found:\n%s\nleft:\n%s", found, left)
	}
}

// TestRefusals change nothing and say why.
func TestRefusals(t *testing.T) {
	b := newBench(t)
	gone := b.vif
	gone.Device = "vif9"
	if err := b.htb.Apply(context.Background(), gone, both(1e6, 1e6)); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("a device that is not there: %v", err)
	}
	b.run("tc", "qdisc", "add", "dev", "vif0", "ingress")
	found := b.run("tc", "qdisc", "show")
	err := b.htb.Apply(context.Background(), b.vif, both(1e6, 1e6))
	if sluice.CodeOf(err) != sluice.Unsupported || !strings.Contains(err.Error(), "ingress qdisc of another program") {
		t.Errorf("a foreign ingress qdisc: %v", err)
	}
	if left := b.run("tc", "qdisc", "show"); left != found {
		t.Errorf("found:\n%s\nleft:\n%s", found, left)
	}
}

// TestVanishedVIF shows that the class of a device that is gone is removed.
func TestVanishedVIF(t *testing.T) {
	b := newBench(t)
	b.apply(1_000_000, 1_000_000)
	b.run("ip", "link", "del", "vif0")
	if err := b.htb.Release(context.Background(), b.vif); err != nil {
		t.Fatal(err)
	}
	if out := b.run("tc", "class", "show", "dev", "sluice-tx"); strings.Contains(out, "51ce:10") {
		t.Errorf("the class stayed:\n%s", out)
	}
}

// TestCounters holds a limited vif's counters against what was sent.
func TestCounters(t *testing.T) {
	b := newBench(t)
	counters := NewCounters(b.htb)
	read := func() sluice.HostCounters {
		all, err := counters.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return all["vif0"]
	}
	before := read()
	rate := b.flow(b.vm, b.host, "192.0.2.1")
	if n := read().Tx.Bytes - before.Tx.Bytes; float64(n) < rate/8 {
		t.Errorf("unshaped: %d bytes counted as tx, at least %.0f were sent", n, rate/8)
	}
	// Where the classes take over from the device, and the device from them, the totals go on.
	for _, change := range []func(){
		func() { b.apply(50_000_000, 50_000_000) },
		func() {
			if err := b.htb.Release(context.Background(), b.vif); err != nil {
				t.Fatal(err)
			}
		},
	} {
		before = read()
		b.flow(b.vm, b.host, "192.0.2.1")
		change()
		between := read()
		rate = b.flow(b.vm, b.host, "192.0.2.1")
		after := read()
		if before.Epoch != between.Epoch || between.Epoch != after.Epoch || between.Tx.Bytes <= before.Tx.Bytes || float64(after.Tx.Bytes-between.Tx.Bytes) < rate/8 {
			t.Errorf("the totals are %+v, %+v and %+v at %.0f bit/s", before.Tx, between.Tx, after.Tx, rate)
		}
	}
	b.apply(50_000_000, 50_000_000)
	before = read()
	rate = b.flow(b.host, b.vm, "192.0.2.2")
	after := read()
	if n := after.Rx.Bytes - before.Rx.Bytes; float64(n) < rate/8 || after.Epoch != before.Epoch {
		t.Errorf("shaped: %d bytes counted as rx, at least %.0f were sent", n, rate/8)
	}
}

func TestInventory(t *testing.T) {
	host := netnstest.New(t)
	host.Do(func() {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
			t.Fatal(err)
		}
		i, err := NewInventory(Sources{Bridge: "br0", Static: []sluice.VIF{{VM: "web", Device: "tap-web", MAC: "52:54:00:00:00:03"}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Error(err)
			return
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		changed := i.Watch(ctx)
		ended := make(chan error, 1)
		go func() { ended <- i.Run(ctx) }()
		expect := func(what string, want ...string) {
			t.Helper()
			for deadline := time.After(10 * time.Second); ; {
				names := []string{}
				for _, v := range i.VIFs() {
					names = append(names, v.Key()+"@"+v.Device)
				}
				if strings.Join(names, " ") == strings.Join(want, " ") {
					return
				}
				select {
				case <-changed:
				case <-deadline:
					t.Errorf("%s: %v, want %v", what, names, want)
					return
				}
			}
		}
		expect("an empty bridge")
		bridge, _ := netlink.LinkByName("br0")
		for _, name := range []string{"tap-web", "tap1", "tap2"} {
			tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP}
			if err := netlink.LinkAdd(tap); err != nil {
				t.Error(err)
			}
			if name != "tap2" {
				link, _ := netlink.LinkByName(name)
				if err := netlink.LinkSetMaster(link, bridge); err != nil {
					t.Error(err)
				}
			}
		}
		expect("two ports, one named", "tap1/0@tap1", "web/52:54:00:00:00:03@tap-web")
		link, _ := netlink.LinkByName("tap1")
		if err := netlink.LinkDel(link); err != nil {
			t.Error(err)
		}
		expect("one gone", "web/52:54:00:00:00:03@tap-web")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestProbe(t *testing.T) {
	b := newBench(t)
	kind := fifoKind
	if b.fair() {
		kind = codelKind
	}
	queues := ""
	for _, f := range Probe(context.Background()) {
		if !f.OK {
			t.Errorf("%s: %s (%s)", f.Name, f.Detail, f.Try)
		}
		if f.Name == "queues" {
			queues = f.Detail
		}
	}
	if !strings.HasPrefix(queues, kind) {
		t.Errorf("of a kernel whose queues are %s it says %q", kind, queues)
	}
}
