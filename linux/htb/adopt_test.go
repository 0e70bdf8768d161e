package htb

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sluice"
	"sluice/linux/tc"
)

const skbPriority = 32 // of struct __sk_buff

// older makes by tc what the release before had in the kernel for vif0 at a
// limit, in class 51ce:20: on either hook a program that sets skb->priority to
// the class, which HTB takes for it, and a redirection.
func (b *bench) older(limit sluice.Rate) {
	b.Helper()
	rate := limit.String()
	b.run("tc", "qdisc", "add", "dev", "vif0", "clsact")
	for _, d := range sluice.Directions {
		ifb, hook := ifbName(d), tc.Ingress
		if d == sluice.Rx {
			hook = tc.Egress
		}
		b.run("ip", "link", "add", ifb, "up", "type", "ifb")
		b.run("tc", "qdisc", "add", "dev", ifb, "root", "handle", "51ce:", "htb")
		b.run("tc", "class", "add", "dev", ifb, "parent", "51ce:", "classid", "51ce:1", "htb", "rate", "100gbit", "burst", "1m", "cburst", "1m")
		b.run("tc", "class", "add", "dev", ifb, "parent", "51ce:1", "classid", "51ce:20", "htb", "rate", "8kbit", "ceil", rate, "burst", "3028", "cburst", "30000", "prio", "1", "quantum", "65536")
		b.run("tc", "qdisc", "add", "dev", ifb, "parent", "51ce:20", "handle", "20:", "bfifo", "limit", "140000")
		b.host.Do(func() {
			conn, err := tc.Dial()
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "sluice", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
				asm.Mov.Imm32(asm.R2, major<<16|0x20),
				asm.StoreMem(asm.R1, skbPriority, asm.R2, asm.Word),
				asm.Mov.Imm(asm.R0, -1),
				asm.Return(),
			}})
			if err != nil {
				b.Error(err)
				return
			}
			defer program.Close()
			vif, _, _ := conn.LinkByName("vif0")
			to, _, _ := conn.LinkByName(ifb)
			if err := conn.PutFilter(vif.Index, tc.BPFFilter{Parent: hook, Pref: filterPref, Name: "sluice-" + string(d) + "-51ce:0020-clsact",
				Program: program.FD(), RedirectTo: to.Index}); err != nil {
				b.Error(err)
			}
		})
	}
}

// TestOlderArrangement takes over what the release before left, while datagrams
// pass in both directions: none is lost, the class stays, and from then on a
// packet keeps the priority that its sender gave it. The host's own HTB on
// vif0 shows that, which takes its class from the priority, too.
func TestOlderArrangement(t *testing.T) {
	b := newBench(t)
	b.htb.Close() // it has listened long enough
	b.older(50 * mbit)
	b.run("tc", "qdisc", "add", "dev", "vif0", "root", "handle", "7:", "htb", "default", "2")
	for _, class := range []string{"7:1", "7:2"} {
		b.run("tc", "class", "add", "dev", "vif0", "parent", "7:", "classid", class, "htb", "rate", "1gbit", "burst", "1m", "cburst", "1m")
	}
	const priority = 0x70001
	sent := func(class string) uint64 {
		var c tc.Class
		b.host.Do(func() {
			conn, err := tc.Dial()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			vif, _, _ := conn.LinkByName("vif0")
			handle := tc.NewHandle(7, uint16(class[2]-'0'))
			if c, _, err = conn.Class(vif.Index, handle); err != nil {
				t.Error(err)
			}
		})
		return c.Stats.Packets
	}
	const count = 3000
	var tx, rx atomic.Int64
	waitTx := b.stream(b.vm, b.host, "192.0.2.1", 0, count, 3*time.Second, func(uint32) { tx.Add(1) })
	waitRx := b.stream(b.host, b.vm, "192.0.2.2", priority, count, 3*time.Second, func(uint32) { rx.Add(1) })
	time.Sleep(time.Second)
	if kept := sent("7:1"); kept > 0 {
		t.Fatalf("the older arrangement kept the priority of %d packets: this test shows nothing", kept)
	}
	classes := b.run("tc", "class", "show", "dev", "sluice-tx")

	b.start()
	b.apply(50*mbit, 50*mbit)
	time.Sleep(100 * time.Millisecond)
	lost, kept := sent("7:2"), sent("7:1")
	waitTx()
	waitRx()
	time.Sleep(500 * time.Millisecond)
	if tx.Load() != count || rx.Load() != count {
		t.Errorf("%d and %d of %d arrived", tx.Load(), rx.Load(), count)
	}
	if more := sent("7:2") - lost; more > 5 { // others, as ARP
		t.Errorf("%d packets without their priority after the change", more)
	}
	if more := sent("7:1") - kept; more < count/3 {
		t.Errorf("only %d packets with their priority", more)
	}
	now := b.run("tc", "class", "show", "dev", "sluice-tx")
	if !strings.Contains(now, "51ce:20 parent 51ce:1 leaf 20:") || strings.Count(now, "class htb") != strings.Count(classes, "class htb") {
		t.Errorf("the classes were\n%s\nand are\n%s", classes, now)
	}
	for _, side := range []string{"ingress", "egress"} {
		show := b.run("tc", "filter", "show", "dev", "vif0", side)
		if strings.Contains(show, "51ce") || strings.Count(show, "handle 0x1") != 1 {
			t.Errorf("the filters on %s are\n%s", side, show)
		}
	}
	if left := (&watch{bench: b}).astray(); left != "" {
		t.Error(left)
	}
	// The clsact was made by us then, and goes with the vif now.
	b.release()
	if left := b.run("tc", "qdisc", "show", "dev", "vif0"); strings.Contains(left, "clsact") {
		t.Error(left)
	}
}
