package htb

import (
	"encoding/binary"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/linux/netnstest"
	"sluice/linux/tc"
)

// TestQueueSizes holds what may wait against the time that it takes to send.
func TestQueueSizes(t *testing.T) {
	for _, c := range []struct {
		rate                  sluice.Rate
		target, flood, frames int // ms of the target; ms that a flood's frames wait; GSO frames that fit
	}{
		{1 * sluice.Mbit, 18, 1510, 4}, // four GSO frames, for less loses batches of UDP whole
		{10 * sluice.Mbit, 15, 150, 4},
		{20 * sluice.Mbit, 15, 80, 4},
		{100 * sluice.Mbit, 7, 35, 8},
		{10 * sluice.Gbit, 5, 35, 400},
		{sluice.Unlimited, 5, 35, 400},
	} {
		rate := bytesPerSecond(c.rate)
		q := newCodel(rate, 0)
		if got := int(q.Target / 1000); got != c.target {
			t.Errorf("%s: a target of %d ms, want %d", c.rate, got, c.target)
		}
		if q.Interval < 5*q.Target {
			t.Errorf("%s: a packet may wait %d us, but not for as long as %d", c.rate, q.Target, q.Interval)
		}
		if got := int(uint64(q.Memory) / frameMemory * mtu * 1000 / rate); got > c.flood {
			t.Errorf("%s: a flood waits %d ms", c.rate, got)
		}
		if got := int(q.Memory / gsoMemory); got < c.frames {
			t.Errorf("%s: %d GSO frames fit", c.rate, got)
		}
	}
	if got := newCodel(bytesPerSecond(sluice.Gbit), 32); got.Target != 32_000 || got.Interval != 127_000 {
		t.Errorf("whose turn comes 32 ms late has a target of %d us in %d", got.Target, got.Interval)
	}
}

// queues are the leaf queues of both directions of the vif's class.
func (b *bench) queues() (both [2]tc.Qdisc) {
	b.Helper()
	for i, d := range sluice.Directions {
		q, there, err := b.htb.conn.Qdisc(b.ifb(d), queueHandle(firstMinor))
		if err != nil || !there {
			b.Fatalf("the queue of %s: %v, %v", d, there, err)
		}
		both[i] = q
	}
	return both
}

// plainly has the driver do as under a kernel without fq_codel, where wanted.
func (b *bench) plainly(yes bool) {
	b.start()
	for _, k := range b.htb.have {
		k.Plain = yes
	}
}

// fair says whether this kernel has fq_codel, by another way than the driver.
func (b *bench) fair() (yes bool) {
	b.Helper()
	out := ""
	b.host.Do(func() {
		for _, d := range []string{"add", "del"} {
			o, err := exec.Command("tc", "qdisc", d, "dev", "lo", "root", "handle", "1:", tc.FQCodelKind).CombinedOutput()
			yes = err == nil
			if out = string(o); !yes {
				return
			}
		}
	})
	if !yes && !strings.Contains(out, "unknown") {
		b.Fatal(out)
	}
	return yes
}

func (b *bench) needsFair() {
	b.Helper()
	if !b.fair() {
		b.Skip("this kernel has no fq_codel, as sluice doctor says too; e2e runs this under one that has")
	}
}

// TestQueues sizes a leaf's queue by its rate, of the kind that the kernel
// has; a new driver changes nothing.
func TestQueues(t *testing.T) {
	b := newBench(t)
	kind := tc.FIFOKind
	if b.fair() {
		kind = tc.FQCodelKind
	}
	for _, r := range []sluice.Rate{sluice.Mbit, 100 * sluice.Mbit, 10 * sluice.Mbit} {
		b.apply(r, r)
		rate := bytesPerSecond(r)
		for i, q := range b.queues() {
			set, later := newQueue(rate, b.late(sluice.Directions[i])).fits(q)
			if q.Kind != kind || set != nil || later {
				t.Errorf("%s: the queue is a %s of %+v %v", r, q.Kind, q.FQCodel, q.FIFO)
			}
			if kind == tc.FQCodelKind && q.FQCodel.Flows != 256 {
				t.Errorf("it has %d flows", q.FQCodel.Flows)
			}
		}
	}
	// The link's capacity is the most that any can get.
	b.state.Capacity = sluice.Capacity{Tx: 2 * sluice.Mbit, Rx: 3 * sluice.Mbit}
	b.set()
	for i, r := range []sluice.Rate{2 * sluice.Mbit, 3 * sluice.Mbit} {
		if q := b.queues()[i]; q.Kind == tc.FQCodelKind && q.FQCodel.Memory != newCodel(bytesPerSecond(r), 0).Memory || q.Kind == tc.FIFOKind && q.FIFO != newFIFO(bytesPerSecond(r)) {
			t.Errorf("on a link of %s: %+v", r, q)
		}
	}
	show := func() string {
		return b.run("tc", "qdisc", "show", "dev", "sluice-tx") + b.run("tc", "qdisc", "show", "dev", "sluice-rx")
	}
	was := show()
	b.start()
	b.state.Capacity = sluice.Capacity{Tx: 2 * sluice.Mbit, Rx: 3 * sluice.Mbit}
	b.set()
	b.apply(10*sluice.Mbit, 10*sluice.Mbit)
	if now := show(); now != was {
		t.Errorf("the new driver changed the kernel:\n%s\nwas:\n%s", now, was)
	}
}

// TestQueueKeepsKind shows that a queue left by a daemon under which the kernel
// had no fq_codel is resized and stays what it is.
func TestQueueKeepsKind(t *testing.T) {
	b := newBench(t)
	b.plainly(true)
	b.apply(100*sluice.Mbit, 100*sluice.Mbit)
	b.start()
	b.apply(sluice.Mbit, sluice.Mbit)
	for _, q := range b.queues() {
		if q.Kind != tc.FIFOKind || q.FIFO != newFIFO(bytesPerSecond(sluice.Mbit)) {
			t.Errorf("the queue is a %s of %v", q.Kind, q.FIFO)
		}
	}
	if b.htb.Plain() {
		t.Error("the driver takes the kernel for one without fq_codel, and did not ask")
	}
}

// TestForeignQueue: what somebody else gave a class, which may hold the vif's
// frames back or lose them, is not there any more after the next Set.
func TestForeignQueue(t *testing.T) {
	b := newBench(t)
	b.apply(10*sluice.Mbit, 10*sluice.Mbit)
	b.run("tc", "qdisc", "replace", "dev", "sluice-tx", "parent", "51ce:10", "handle", "77:", "pfifo", "limit", "123")
	b.apply(20*sluice.Mbit, 20*sluice.Mbit)
	if out := b.run("tc", "qdisc", "show", "dev", "sluice-tx"); strings.Contains(out, "77:") || !strings.Contains(out, " 10: parent 51ce:10 ") {
		t.Errorf("the queue is not ours:\n%s", out)
	}
}

// late is how late a class's round may come.
func (b *bench) late(d sluice.Direction) uint64 {
	return b.htb.state.share(d, b.htb.state.shaped(d), Activity{}).late
}

// roomy has a socket hold what a reader on a busy machine has not taken yet,
// also beyond what the host allows everybody.
func (b *bench) roomy(c net.PacketConn) {
	b.Helper()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err == nil {
		err2 := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) })
		err = errors.Join(err, err2)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// datagrams sends so many from the VM, spread over the span, each with its
// number; what arrives is told to each.
func (b *bench) datagrams(count int, span time.Duration, each func(n uint32)) (stop func()) {
	b.Helper()
	return b.stream(b.vm, b.host, "192.0.2.1", 0, count, span, each)
}

// stream is datagrams from one namespace to the other, whose skb->priority is so.
func (b *bench) stream(from, to *netnstest.NS, address string, priority uint32, count int, span time.Duration, each func(n uint32)) (stop func()) {
	b.Helper()
	var sink net.PacketConn
	var c net.Conn
	var err error
	to.Do(func() { sink, err = net.ListenPacket("udp", address+":0") })
	if err == nil {
		b.roomy(sink)
		dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			if priority != 0 {
				_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, int(priority)) })
			}
			return err
		}}
		from.Do(func() { c, err = dialer.Dial("udp", sink.LocalAddr().String()) })
	}
	if err != nil {
		b.Fatal(err)
	}
	_ = c.(*net.UDPConn).SetWriteBuffer(8 << 20)
	done := make(chan struct{})
	b.Cleanup(func() { c.Close(); sink.Close() })
	go func() {
		for buf := make([]byte, 2000); ; {
			if _, _, err := sink.ReadFrom(buf); err != nil {
				return
			}
			each(binary.BigEndian.Uint32(buf))
		}
	}()
	go func() {
		defer close(done)
		begin, buf := time.Now(), make([]byte, 1000)
		for n := range count {
			time.Sleep(time.Until(begin.Add(span * time.Duration(n) / time.Duration(count))))
			binary.BigEndian.PutUint32(buf, uint32(n))
			_, _ = c.Write(buf)
		}
	}()
	return func() { <-done }
}

// TestChangesLoseNothing makes 100 changes, up and down, while datagrams pass.
func TestChangesLoseNothing(t *testing.T) {
	b := newBench(t)
	b.apply(20*sluice.Mbit, 20*sluice.Mbit)
	arrived := make(chan uint32, 10_000)
	const count = 2000
	wait := b.datagrams(count, 4*time.Second, func(n uint32) { arrived <- n })
	for i := range 100 {
		r := sluice.Rate(10+i%10) * sluice.Mbit
		b.apply(r, r)
	}
	wait()
	time.Sleep(time.Second)
	if got := len(arrived); got != count {
		t.Errorf("%d of %d arrived; the queue: %+v", got, count, b.queues()[0])
	}
}

// TestDropsAreCounted floods a limit: what does not arrive is in the counters,
// whether the queue turned it away or CoDel took it out.
func TestDropsAreCounted(t *testing.T) {
	b := newBench(t)
	b.apply(5*sluice.Mbit, 5*sluice.Mbit)
	var arrived atomic.Int64
	const count = 2000 // of 1,042 bytes in a second: 17 Mbit/s
	b.datagrams(count, time.Second, func(uint32) { arrived.Add(1) })()
	time.Sleep(time.Second)
	counts, err := b.htb.Count()
	if err != nil {
		t.Fatal(err)
	}
	dropped := counts.Trees[sluice.Tx][firstMinor].Dropped
	if got := arrived.Load() + int64(dropped); got != count || arrived.Load() == count {
		t.Errorf("of %d arrived %d and %d are counted as dropped", count, arrived.Load(), dropped)
	}
}

// TestLowerLimitKeepsWhatWaits lowers a limit so far that less may wait than
// does: nothing is dropped by that, and later the queue is as it should be.
func TestLowerLimitKeepsWhatWaits(t *testing.T) {
	b := newBench(t)
	b.apply(100*sluice.Kbit, 100*sluice.Mbit) // so slow that what comes stays
	sized := newQueue(bytesPerSecond(100*sluice.Mbit), 0)
	var larger tc.Queue = sized.Plain
	if b.queues()[0].Kind == tc.FQCodelKind {
		larger = sized.Fair
	}
	if err := b.htb.conn.ChangeQueue(b.ifb(sluice.Tx), handleOf(firstMinor), queueHandle(firstMinor), larger); err != nil {
		t.Fatal(err)
	}
	b.datagrams(100, 0, func(uint32) {})()
	before := b.queues()[0]
	for end := time.Now().Add(5 * time.Second); before.Stats.Backlog < 80_000 && time.Now().Before(end); before = b.queues()[0] {
		time.Sleep(10 * time.Millisecond) // who is asked for the address may be slow to answer
	}
	b.apply(sluice.Mbit, 100*sluice.Mbit)
	after := b.queues()[0]
	t.Logf("%s: %d bytes waited, then %d", before.Kind, before.Stats.Backlog, after.Stats.Backlog)
	if lost := int(before.Stats.Backlog) - int(after.Stats.Backlog); before.Stats.Backlog < 80_000 || lost > 30_000 {
		t.Errorf("%d bytes waited, after the change %d", before.Stats.Backlog, after.Stats.Backlog)
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if set, later := newQueue(bytesPerSecond(sluice.Mbit), 0).fits(b.queues()[0]); set == nil && !later {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the queue stays a %+v", b.queues()[0])
		}
	}
}

// TestSmallFlow has a VM flood its own limit: beside that a small flow of its
// own waits for as long as a FIFO is, and much of it is lost; with fq_codel
// it does not and is not.
func TestSmallFlow(t *testing.T) {
	b := newBench(t)
	b.needsFair()
	const rate = 5 * sluice.Mbit
	measure := func(plain bool) (median time.Duration, lost int) {
		b.release()
		b.plainly(plain)
		b.apply(rate, rate)
		// Twice what may pass, for three seconds.
		wait := b.datagrams(3*2*int(rate)/8/1042, 3*time.Second, func(uint32) {})
		time.Sleep(500 * time.Millisecond)
		const count = 100
		sent, took := make([]time.Time, count), make(chan time.Duration, count)
		begin := time.Now()
		for i := range sent {
			sent[i] = begin.Add(2 * time.Second * time.Duration(i) / count)
		}
		b.datagrams(count, 2*time.Second, func(n uint32) { took <- time.Since(sent[n]) })()
		wait()
		time.Sleep(300 * time.Millisecond)
		var all []time.Duration
		for len(took) > 0 {
			all = append(all, <-took)
		}
		if len(all) == 0 {
			t.Fatal("nothing arrived")
		}
		slices.Sort(all)
		return all[len(all)/2], count - len(all)
	}
	behind, lostBehind := measure(true)
	beside, lostBeside := measure(false)
	t.Logf("median and lost of 100 beside a flood: %s and %d by a FIFO, %s and %d by fq_codel", behind, lostBehind, beside, lostBeside)
	if beside > behind/3 {
		t.Errorf("it waits %s, in a FIFO %s", beside, behind)
	}
	if lostBeside > 5 {
		t.Errorf("%d of 100 are lost", lostBeside)
	}
}
