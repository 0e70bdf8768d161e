package htb

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/linux/netnstest"
)

// bridged is a host whose bridge has two VMs and an uplink, with a machine
// behind that. One of the VMs has a guarantee, so all share a link of 20 Mbit/s.
type bridged struct {
	*bench
	a, b, out *netnstest.NS
	vifs      [2]sluice.VIF
}

func newBridged(t *testing.T) *bridged {
	t.Helper()
	n := &bridged{bench: &bench{T: t, host: netnstest.New(t)}, a: netnstest.New(t), b: netnstest.New(t), out: netnstest.New(t)}
	n.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	n.run("ip", "link", "set", "br0", "up")
	for i, vm := range []*netnstest.NS{n.a, n.b, n.out} {
		device := []string{"tapa", "tapb", "uplink"}[i]
		n.host.Veth(device, "", vm, "eth0", fmt.Sprintf("192.0.2.%d/24", 11+i))
		n.run("ip", "link", "set", device, "master", "br0")
		if i < 2 {
			n.vifs[i] = sluice.VIF{VM: device, Device: device}
		}
	}
	n.start()
	own := sluice.UnshapedBoth
	own.Tx.Guarantee, own.Rx.Guarantee = 5*sluice.Mbit, 5*sluice.Mbit
	n.state = sluice.Effective{Capacity: sluice.Capacity{Tx: 20 * sluice.Mbit, Rx: 20 * sluice.Mbit}, VIFs: map[string]sluice.Bound{
		n.vifs[0].Key(): {VIF: n.vifs[0], Want: sluice.UnshapedBoth}, n.vifs[1].Key(): {VIF: n.vifs[1], Want: own}}}
	n.set()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.htb.Run(ctx, func(r sluice.Repair) { t.Errorf("disturbed: %+v", r) })
	}()
	t.Cleanup(func() { stop(); <-ended })
	return n
}

// TestWithinTheHost lets what two VMs send each other pass by a link that it
// does not cross, at their own limits where they have some.
func TestWithinTheHost(t *testing.T) {
	n := newBridged(t)
	n.passes("over the link", n.a, n.out, "192.0.2.13", 20e6*0.984*0.957)
	n.passes("from the link", n.out, n.a, "192.0.2.11", 20e6*0.984*0.957)
	fast := 0.0
	n.eventually("what stays on the host is not held back", func() bool {
		fast = n.flow(n.a, n.b, "192.0.2.12")
		return fast > 200e6
	})
	t.Logf("VM to VM: %.0f Mbit/s beside a link of 20", fast/1e6)
	want := sluice.UnshapedBoth
	want.Tx.Limit = 8 * sluice.Mbit
	n.state.VIFs = map[string]sluice.Bound{n.vifs[0].Key(): {VIF: n.vifs[0], Want: want}, n.vifs[1].Key(): n.state.VIFs[n.vifs[1].Key()]}
	n.set()
	n.passes("VM to VM, at the sender's limit", n.a, n.b, "192.0.2.12", 8e6*0.957)
	counts, err := n.htb.Count()
	if err != nil {
		t.Fatal(err)
	}
	if past := counts.Past[sluice.Tx][n.htb.links["tapa"]]; past.Bytes < 1<<20 {
		t.Errorf("what went by the tree is not counted: %+v", past)
	}
}

// TestFlooded has the link carry multicast once, and each VM get it: it does
// not use up the link's capacity once for each.
func TestFlooded(t *testing.T) {
	n := newBridged(t)
	var c *net.UDPConn
	var err error
	n.out.Do(func() { c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 13)}) }) // Go lets it broadcast
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // 10 Mbit/s, which would be 20 of the link's 20
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = c.WriteToUDP(make([]byte, 1208), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 255), Port: 9})
			}
		}
	}()
	n.passes("a download beside it", n.out, n.a, "192.0.2.11", 20e6*0.984*0.957)
}

// TestBatches has UDP in batches (UDP_SEGMENT), which are frames of 61,600
// bytes, and frames of 9,000 get a small limit, by either kind of queue.
func TestBatches(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(map[bool]string{true: "bfifo", false: "the kernel's best"}[plain], func(t *testing.T) {
			b := newBench(t)
			if !plain && !b.fair() {
				t.Skip("this kernel's best is the bfifo; e2e runs this under one that has fq_codel")
			}
			b.plainly(plain)
			b.run("ip", "link", "set", "vif0", "mtu", "9000")
			b.vm.Do(func() { b.in(b.vm, "ip", "link", "set", "eth0", "mtu", "9000") })
			for _, rate := range []sluice.Rate{sluice.Mbit, 4 * sluice.Mbit} {
				b.apply(rate, rate)
				for _, segment := range []int{1400, 0} {
					const span = 6 * time.Second
					got := b.batches(segment, rate*5/4, span)
					// What waits at the end is sent after it.
					least, most := 0.9*float64(rate)*span.Seconds()/8, 1.05*float64(rate)*span.Seconds()/8+2*(gsoFrame+mtu)+9000*4
					if float64(got) < least || float64(got) > most {
						t.Errorf("%s, segments of %d: %d bytes arrived in %s; want %.0f to %.0f", rate, segment, got, span, least, most)
					}
				}
			}
		})
	}
}

// in runs a command in a namespace.
func (b *bench) in(ns *netnstest.NS, command ...string) {
	b.Helper()
	host := b.host
	b.host = ns
	defer func() { b.host = host }()
	b.run(command...)
}

// batches sends UDP from the VM at a rate for a span, in frames of 44 segments
// or, if the segment is 0, of 8,900 bytes, and returns the bytes that arrived.
func (b *bench) batches(segment int, rate sluice.Rate, span time.Duration) int {
	b.Helper()
	var in net.PacketConn
	var out net.Conn
	var err error
	b.host.Do(func() { in, err = net.ListenPacket("udp", "192.0.2.1:0") })
	if err == nil {
		b.roomy(in)
		b.vm.Do(func() { out, err = net.Dial("udp", in.LocalAddr().String()) })
	}
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	size := 8900
	if segment > 0 {
		size = 44 * segment
		raw, _ := out.(*net.UDPConn).SyscallConn()
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment) }); e != nil || err != nil {
			b.Fatal(e, err)
		}
	}
	arrived := make(chan int)
	go func() {
		total := 0
		for buf := make([]byte, 64<<10); ; {
			n, _, err := in.ReadFrom(buf)
			if err != nil {
				arrived <- total
				return
			}
			total += n
		}
	}()
	begin := time.Now()
	for sent := 0; time.Since(begin) < span; sent += size {
		time.Sleep(time.Until(begin.Add(time.Duration(float64(sent) * 8 / float64(rate) * 1e9))))
		_, _ = out.Write(make([]byte, size))
	}
	time.Sleep(1500 * time.Millisecond)
	in.Close()
	return <-arrived
}
