package linux

import (
	"context"
	"log/slog"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice"
)

// Probe tries what shaping needs in a network namespace of its own, which
// vanishes with it, and says what this kernel can and cannot do.
func Probe(ctx context.Context) []sluice.Finding {
	found := []sluice.Finding{kernel()}
	if os.Geteuid() != 0 {
		return append(found, sluice.Finding{Name: "root", Detail: "shaping needs root, and so does trying it", Try: "run as root"})
	}
	done := make(chan []sluice.Finding)
	go func() {
		// The thread is not unlocked: it ends with the goroutine, and the
		// namespace with it.
		runtime.LockOSThread()
		done <- attempt(ctx)
	}()
	return append(found, <-done...)
}

func kernel() sluice.Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return sluice.Finding{Name: "kernel", Detail: err.Error()}
	}
	return sluice.Finding{Name: "kernel", OK: true, Detail: "Linux " + unix.ByteSliceToString(u.Release[:])}
}

// attempt shapes the loopback device of a new namespace.
func attempt(ctx context.Context) []sluice.Finding {
	ns, err := netns.New()
	if err != nil {
		return []sluice.Finding{{Name: "namespace", Detail: err.Error(), Try: "run as root, outside an unprivileged container"}}
	}
	defer ns.Close()
	h, err := NewHTB(slog.New(slog.DiscardHandler))
	if err != nil {
		return []sluice.Finding{{Name: "netlink", Detail: err.Error()}}
	}
	defer h.Close()
	v := sluice.VIF{VM: "probe", Device: "lo"} // the one device that every namespace has
	try := func(name, can, need string, err error) sluice.Finding {
		if err != nil {
			return sluice.Finding{Name: name, Detail: err.Error(), Try: need}
		}
		return sluice.Finding{Name: name, OK: true, Detail: can}
	}
	found := []sluice.Finding{}
	for _, d := range sluice.Directions {
		_, err := h.plant(ctx, d)
		found = append(found, try("ifb and htb, "+string(d), "the kernel has both", "a kernel with CONFIG_IFB and CONFIG_NET_SCH_HTB (Debian: linux-image-amd64)", err))
	}
	limit := sluice.Allocation{Limit: 40_000_000_000, Weight: sluice.DefaultWeight}
	err = h.Apply(ctx, v, sluice.Allocations{Tx: limit, Rx: limit})
	found = append(found, try("shaping", "a limit was set on a device and read back, above 34.36 Gbit/s too",
		"a kernel with CONFIG_NET_CLS_BPF, CONFIG_NET_ACT_MIRRED and CONFIG_NET_SCH_INGRESS", err))
	if err != nil {
		return found
	}
	return append(found, queues(h.plain))
}

// queues says what waits in which kind of queue. Either will do.
func queues(plain bool) sluice.Finding {
	f := sluice.Finding{Name: "queues", OK: true, Detail: "fq_codel: what is small or slow in a VM does not wait behind what the same VM sends in bulk"}
	if plain {
		f.Detail = "bfifo, for the kernel has no fq_codel: what a VM sends in bulk at its limit delays all else of that VM, " +
			"by 15 ms, at 10 Mbit/s by 100, at 1 Mbit/s by 200; other VMs not"
		f.Try = "a kernel with CONFIG_NET_SCH_FQ_CODEL (Debian: linux-image-amd64), if that matters"
	}
	return f
}
