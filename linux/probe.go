package linux

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice"
	"sluice/linux/htb"
)

// Untried is the name of the finding that [Probe] could try nothing where it was asked.
const Untried = "trial"

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
		return []sluice.Finding{{Name: Untried, Detail: "shaping was not tried: no network namespace can be made for that: " + err.Error(),
			Try: "sluice doctor as root, which tries it itself; outside an unprivileged container"}}
	}
	defer ns.Close()
	d, err := htb.New(slog.New(slog.DiscardHandler), htb.Ethernet)
	if err != nil {
		return []sluice.Finding{{Name: "netlink", Detail: err.Error()}}
	}
	defer d.Close()
	limit := sluice.Allocation{Limit: 40_000_000_000, Weight: sluice.DefaultWeight}
	v := sluice.VIF{VM: "probe", Device: "lo"} // the one device that every namespace has
	failed, err := d.Set(ctx, sluice.Effective{Capacity: sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited},
		VIFs: map[string]sluice.Bound{v.Key(): {VIF: v, Want: sluice.Allocations{Tx: limit, Rx: limit}}}})
	if err = errors.Join(err, failed[v.Key()]); err != nil {
		return []sluice.Finding{{Name: "ifb and htb", Detail: cause(err),
			Try: "a kernel with CONFIG_IFB, CONFIG_NET_SCH_HTB, CONFIG_NET_CLS_BPF, CONFIG_NET_ACT_MIRRED and CONFIG_NET_SCH_INGRESS (Debian: linux-image-amd64)"}}
	}
	return []sluice.Finding{{Name: "ifb and htb", OK: true, Detail: "a limit was set on a device through an ifb and read back, above 34.36 Gbit/s too"},
		queues(d.Plain())}
}

// cause is what the kernel said, without whom to ask: that is the doctor.
func cause(err error) string {
	var told *sluice.Error
	if errors.As(err, &told) && told.Err != nil {
		return told.Err.Error()
	}
	return err.Error()
}

// queues says what waits in which kind of queue. Either will do.
func queues(plain bool) sluice.Finding {
	f := sluice.Finding{Name: "queues", OK: true, Detail: "fq_codel: what is small or slow in a VM does not wait behind what the same VM sends in bulk"}
	if plain {
		f.Detail = "bfifo, for the kernel has no fq_codel: what a VM sends in bulk at its limit delays all else of that VM, " +
			"by 15 ms, at 10 Mbit/s by 100, at 1 Mbit/s by a second; other VMs not"
		f.Try = "a kernel with CONFIG_NET_SCH_FQ_CODEL (Debian: linux-image-amd64), if that matters"
	}
	return f
}
