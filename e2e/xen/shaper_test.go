package xen_test

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"sluice"
)

// shaper is HTB by the tc program: on the device itself for rx, behind an IFB
// for tx. It stands for package linux's driver.
type shaper struct{}

var shaping sync.Mutex

func (shaper) Apply(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
	shaping.Lock()
	defer shaping.Unlock()
	ifb := "t" + v.Device
	script := fmt.Sprintf(`set -e; dev=%s; ifb=%s; ip link show $dev >/dev/null
if ! ip link show $ifb >/dev/null 2>&1; then
  ip link add $ifb type ifb; ip link set $ifb up
  tc qdisc add dev $dev clsact
  tc filter add dev $dev ingress matchall action mirred egress redirect dev $ifb
  for d in $dev $ifb; do
    tc qdisc add dev $d root handle 1: htb default 1
    tc class add dev $d parent 1: classid 1:1 htb rate 30gbit burst 1m cburst 1m quantum 60000
    tc qdisc add dev $d parent 1:1 handle 10: fq_codel
  done
fi
`, v.Device, ifb)
	for dev, a := range map[string]sluice.Allocation{ifb: want.Tx, v.Device: want.Rx} {
		rate := min(a.Limit, 30*sluice.Gbit)
		burst := min(max(uint64(rate)/8/100, 4096), 1<<20)
		target := max(5000, 100_000_000_000/uint64(rate)) // microseconds; several frames, also at a low rate
		script += fmt.Sprintf("tc class change dev %s parent 1: classid 1:1 htb rate %dbit burst %d cburst %d quantum 60000\n", dev, rate, burst, burst) +
			fmt.Sprintf("tc qdisc change dev %s parent 1:1 handle 10: fq_codel target %dus interval %dus\n", dev, target, 20*target)
	}
	if out, err := shell(script); err != nil {
		code := sluice.NotApplied
		if strings.Contains(out, "does not exist") || strings.Contains(out, "Cannot find device") {
			code = sluice.NotFound
		}
		return &sluice.Error{Code: code, Message: "tc failed on " + v.Device, Err: err}
	}
	return nil
}

func (shaper) Release(_ context.Context, v sluice.VIF) error {
	shaping.Lock()
	defer shaping.Unlock()
	_, _ = shell(fmt.Sprintf("ip link del t%[1]s; tc qdisc del dev %[1]s clsact; tc qdisc del dev %[1]s root", v.Device))
	return nil
}
