package xen_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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
	if _, err := os.Stat("/sys/class/net/" + v.Device); err != nil {
		return &sluice.Error{Code: sluice.NotFound, Message: v.Device + " has gone"}
	}
	if _, err := os.Stat("/sys/class/net/" + ifb); err != nil {
		if _, err := shell(fmt.Sprintf(`set -e; dev=%s; ifb=%s
ip link add $ifb type ifb; ip link set $ifb up
tc qdisc add dev $dev clsact
tc filter add dev $dev ingress matchall action mirred egress redirect dev $ifb
for d in $dev $ifb; do
  tc qdisc add dev $d root handle 1: htb default 1
  tc class add dev $d parent 1: classid 1:1 htb rate 30gbit burst 1m cburst 1m quantum 60000
  tc qdisc add dev $d parent 1:1 handle 10: fq_codel
done`, v.Device, ifb)); err != nil {
			return &sluice.Error{Code: sluice.NotApplied, Message: "tc failed on " + v.Device, Err: err}
		}
	}
	var lines string
	for dev, a := range map[string]sluice.Allocation{ifb: want.Tx, v.Device: want.Rx} {
		rate := min(a.Limit, 30*sluice.Gbit)
		burst := min(max(uint64(rate)/8/100, 4096), 1<<20)
		target := max(5000, 100_000_000_000/uint64(rate)) // microseconds; several frames, also at a low rate
		lines += fmt.Sprintf("class change dev %s parent 1: classid 1:1 htb rate %dbit burst %d cburst %d quantum 60000\n", dev, rate, burst, burst) +
			fmt.Sprintf("qdisc change dev %s parent 1:1 handle 10: fq_codel target %dus interval %dus\n", dev, target, 20*target)
	}
	tc := exec.Command("tc", "-batch", "-")
	tc.Stdin = strings.NewReader(lines)
	if out, err := tc.CombinedOutput(); err != nil {
		return &sluice.Error{Code: sluice.NotApplied, Message: fmt.Sprintf("tc failed on %s: %s", v.Device, out), Err: err}
	}
	return nil
}

func (shaper) Release(_ context.Context, v sluice.VIF) error {
	shaping.Lock()
	defer shaping.Unlock()
	_, _ = shell(fmt.Sprintf("ip link del t%[1]s; tc qdisc del dev %[1]s clsact; tc qdisc del dev %[1]s root", v.Device))
	return nil
}
