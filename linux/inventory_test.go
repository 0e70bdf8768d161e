package linux

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/linux/netnstest"
)

// book is a source of names that a test writes.
type book struct {
	mu   sync.Mutex
	vifs []sluice.VIF
	ch   chan struct{}
}

func (b *book) VIFs() []sluice.VIF {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.vifs
}

func (b *book) Watch(context.Context) <-chan struct{} { return b.ch }

func (b *book) write(vifs ...sluice.VIF) {
	b.mu.Lock()
	b.vifs = vifs
	b.mu.Unlock()
	b.ch <- struct{}{}
}

// follow runs an inventory in a namespace, and returns how to see what it has.
func follow(t *testing.T, ns *netnstest.NS, s Sources) (shown func() string) {
	t.Helper()
	var i *Inventory
	var err error
	ns.Do(func() { i, err = NewInventory(s, slog.New(slog.DiscardHandler)) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = i.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return func() string {
		var all []string
		for _, v := range i.VIFs() {
			all = append(all, fmt.Sprintf("%s/%d on %s", v.VM, v.Index, v.Device))
		}
		return strings.Join(all, ", ")
	}
}

func ip(t *testing.T, ns *netnstest.NS, lines ...string) {
	t.Helper()
	ns.Do(func() {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func becomes(t *testing.T, shown func() string, want string) {
	t.Helper()
	for until := time.Now().Add(3 * time.Second); shown() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it has %q, want %q", shown(), want)
		}
	}
}

// A source's name holds for the device that it means, and is there as soon as
// it is told; what a person named comes first.
func TestNamers(t *testing.T) {
	ns := netnstest.New(t)
	first, second := &book{ch: make(chan struct{}, 1)}, &book{ch: make(chan struct{}, 1)}
	shown := follow(t, ns, Sources{Namers: []Namer{first, second}, Static: []sluice.VIF{{VM: "mine", Device: "tap2"}}})
	ip(t, ns, "link add tap0 address fe:54:00:00:00:01 type veth peer name p0", "link add tap1 address fe:54:00:00:00:02 type veth peer name p1", "link add tap2 type veth peer name p2", "link del p2")
	ip(t, ns, "link add tap2 type veth peer name p2")
	becomes(t, shown, "mine/0 on tap2, p0/0 on p0, p1/0 on p1, p2/0 on p2, tap0/0 on tap0, tap1/0 on tap1")
	first.write(sluice.VIF{VM: "web", UUID: "u", Index: 1, MAC: "52:54:00:00:00:01", Device: "tap0", DeviceMAC: "fe:54:00:00:00:01"},
		sluice.VIF{VM: "gone", Device: "tap1", DeviceMAC: "fe:54:00:00:00:77"}, sluice.VIF{VM: "other", Device: "tap2"})
	becomes(t, shown, "mine/0 on tap2, p0/0 on p0, p1/0 on p1, p2/0 on p2, tap1/0 on tap1, web/1 on tap0")
	second.write(sluice.VIF{VM: "late", Device: "tap0"}, sluice.VIF{VM: "db", Device: "p1"})
	becomes(t, shown, "db/0 on p1, mine/0 on tap2, p0/0 on p0, p2/0 on p2, tap1/0 on tap1, web/1 on tap0")
	// Another device by that name is not the one that was meant.
	ip(t, ns, "link del tap0")
	ip(t, ns, "link add tap0 address fe:54:00:00:00:09 type veth peer name p0")
	becomes(t, shown, "db/0 on p1, mine/0 on tap2, p0/0 on p0, p2/0 on p2, tap0/0 on tap0, tap1/0 on tap1")
}

// A bridge that is not there yet is waited for, and one that is joined to it by
// a veth pair belongs to it: what joins them is no VM.
func TestBridges(t *testing.T) {
	ns := netnstest.New(t)
	shown, all := follow(t, ns, Sources{Bridges: []string{"vmbr0"}}), follow(t, ns, Sources{})
	both := follow(t, ns, Sources{Bridges: []string{"vmbr0", "other"}})
	becomes(t, shown, "")
	ip(t, ns, "link add vmbr0 type bridge", "link add fwbr100i0 type bridge", "link add other type bridge",
		"link add tap100i0 type veth peer name q0", "link set tap100i0 master fwbr100i0",
		"link add fwln100i0 type veth peer name fwpr100p0", "link set fwln100i0 master fwbr100i0", "link set fwpr100p0 master vmbr0",
		"link add tap101i0 type veth peer name q1", "link set tap101i0 master vmbr0", "link add tap9 type veth peer name q9", "link set tap9 master other")
	becomes(t, shown, "tap100i0/0 on tap100i0, tap101i0/0 on tap101i0")
	becomes(t, all, "q0/0 on q0, q1/0 on q1, q9/0 on q9, tap100i0/0 on tap100i0, tap101i0/0 on tap101i0, tap9/0 on tap9")
	becomes(t, both, "tap100i0/0 on tap100i0, tap101i0/0 on tap101i0, tap9/0 on tap9")
	ip(t, ns, "link del vmbr0")
	becomes(t, both, "tap9/0 on tap9")
	becomes(t, shown, "")
	ip(t, ns, "link add vmbr0 type bridge", "link set tap101i0 master vmbr0")
	becomes(t, shown, "tap101i0/0 on tap101i0")
}
