package xen_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sluice"
)

// TestPolicies measures what docs/xen.md decides by: netback's credit, HTB,
// and HTB inside a wall of credit. It is long, and runs only when asked for.
func TestPolicies(t *testing.T) {
	if os.Getenv("SLUICE_POLICIES") == "" && !strings.Contains(strings.Join(os.Args, " "), "TestPolicies") {
		t.Skip("go test ./e2e/xen -run TestPolicies measures; nothing here can fail")
	}
	g := start(t, 1, []string{""})
	back, dev := g.backend(t, 0), fmt.Sprintf("vif%d.0", g.domid(t))
	must(t, "ip link add ifb0 type ifb; ip link set ifb0 up; tc qdisc add dev "+dev+" clsact; tc filter add dev "+dev+" ingress matchall action mirred egress redirect dev ifb0")
	htb := func(rate sluice.Rate) {
		_, _ = shell("tc qdisc del dev ifb0 root")
		if rate != 0 {
			burst := max(uint64(rate)/8/100, 4096)
			must(t, fmt.Sprintf("tc qdisc add dev ifb0 root handle 1: htb default 1 && tc class add dev ifb0 parent 1: classid 1:1 htb rate %[1]dbit ceil %[1]dbit burst %[2]d cburst %[2]d && tc qdisc add dev ifb0 parent 1:1 fq_codel", rate, burst))
		}
	}
	credit := func(bytes float64, window time.Duration) {
		if bytes == 0 {
			must(t, "xenstore-rm "+back+"/rate || true")
		} else {
			must(t, fmt.Sprintf("xenstore-write %s/rate %d,%d", back, uint64(bytes), window.Microseconds()))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Log(must(t, "cat /sys/kernel/debug/xen-netback/"+dev+"/io_ring_q0; ls /sys/kernel/debug/xen-netback/"+dev))
	t.Logf("no limit: %.1f Mbit/s", g.mustFlow(t, sluice.Tx, 2)/1e6)
	for _, rate := range []sluice.Rate{5 * sluice.Mbit, 20 * sluice.Mbit, 100 * sluice.Mbit} {
		bps := float64(rate) / 8
		for name, set := range map[string]func(){
			"netback, 50 ms, as xl": func() { htb(0); credit(bps*.05, 50*time.Millisecond) },
			"netback, 50+4 ms":      func() { htb(0); credit(bps*.054, 50*time.Millisecond) },
			"netback, 20+4 ms":      func() { htb(0); credit(bps*.024, 20*time.Millisecond) },
			"netback, 100+4 ms":     func() { htb(0); credit(bps*.104, 100*time.Millisecond) },
			"htb":                   func() { credit(0, 0); htb(rate) },
			"htb, wall at 2x":       func() { htb(rate); credit(max(bps*.054*2, 131072), 50*time.Millisecond) },
			"htb, wall at 1.25x":    func() { htb(rate); credit(max(bps*.054*1.25, 1), 50*time.Millisecond) },
		} {
			set()
			var got float64
			ping := make(chan string, 1)
			go func() {
				time.Sleep(1500 * time.Millisecond)
				out, _ := shell("ping -q -i .05 -c 40 " + g.ips[0] + " | tail -n 1")
				ping <- out
			}()
			cpu := busy(t, func() { got = g.mustFlow(t, sluice.Tx, 3) })
			var flood float64
			_, lat, _ := strings.Cut(<-ping, " = ")
			floodCPU := busy(t, func() { flood, _ = g.flow(sluice.Tx, 2, "-u", "-b", "400M", "-l", "1400") })
			t.Logf("%-10s %-24s TCP %6.2f %% of the ideal, dom0 %3.0f %%, ping %s; flood %6.1f Mbit/s, dom0 %3.0f %%",
				rate, name, 100*got/(float64(rate)*payload), 100*cpu, lat, flood/1e6, 100*floodCPU)
		}
	}
	htb(0)
}
