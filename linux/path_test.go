package linux

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"sluice/linux/netnstest"
)

// A VM that routes for others is the path to all that is behind it.
func TestPathTo(t *testing.T) {
	host, vm := netnstest.New(t), netnstest.New(t)
	run := func(script string) {
		t.Helper()
		for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
			if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s", line, err, out)
			}
		}
	}
	host.Do(func() {
		run(`ip link add br0 type bridge
			ip addr add 10.9.0.1/24 dev br0
			ip link set br0 up
			ip link add tap1 type veth peer name p1
			ip link set tap1 master br0 up
			ip link set p1 up
			ip link add out type veth peer name p2
			ip addr add 10.8.0.1/24 dev out
			ip link set out up`)
	})
	host.Veth("tap0", "", vm, "eth0", "10.9.0.2/24")
	host.Do(func() {
		run(`ip link set tap0 master br0
			ip route add 192.0.2.0/24 via 10.9.0.2
			for i in $(seq 50); do bash -c 'echo > /dev/udp/10.9.0.2/9'; ip neigh show 10.9.0.2 | grep -q lladdr && exit; sleep .1; done`)
		for to, want := range map[string]string{"10.9.0.2": "tap0", "192.0.2.77": "tap0", "::ffff:10.9.0.2": "tap0", "10.8.0.7": "out", "127.0.0.1": "lo"} {
			if got, err := PathTo(netip.MustParseAddr(to)); err != nil || got != want {
				t.Errorf("the path to %s is %q, want %q: %v", to, got, want, err)
			}
		}
		for to, says := range map[string]string{"10.9.0.3": "hardware address", "203.0.113.1": "no route", "2001:db8::1": "no route"} {
			if got, err := PathTo(netip.MustParseAddr(to)); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("the path to %s is %q: %v, want %q", to, got, err, says)
			}
		}
	})
}
