package linux

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/linux/htb"
	"sluice/linux/netnstest"
)

type noClasses struct{}

func (noClasses) Count() (htb.Counts, error) { return htb.Counts{}, nil }

// TestCountersFollowNames: where devices are renamed, what they counted is told
// by the new names at the next reading, and where two swap names it does not
// become the other's.
func TestCountersFollowNames(t *testing.T) {
	host, vm := netnstest.New(t), netnstest.New(t)
	host.Veth("tap-a", "192.0.2.1/24", vm, "eth0", "192.0.2.2/24")
	host.Veth("tap-b", "198.51.100.1/24", vm, "eth1", "198.51.100.2/24")
	var c *Counters
	host.Do(func() {
		var err error
		if c, err = NewCounters(noClasses{}); err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	device := func(name string) uint64 {
		all, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[name].Epoch
	}
	rename := func(from, to string) {
		host.Do(func() {
			if out, err := exec.Command("ip", "link", "set", from, "name", to).CombinedOutput(); err != nil {
				t.Fatal(err, strings.TrimSpace(string(out)))
			}
		})
	}
	a, b := device("tap-a"), device("tap-b")
	if a == 0 || b == 0 {
		t.Fatal(a, b)
	}
	for _, r := range [][2]string{{"tap-a", "tap-x"}, {"tap-b", "tap-a"}, {"tap-x", "tap-b"}} {
		rename(r[0], r[1])
	}
	time.Sleep(200 * time.Millisecond)
	if isA, isB := device("tap-a"), device("tap-b"); isA != b || isB != a || device("tap-x") != 0 {
		t.Errorf("they were %d and %d, swapped names, and are told as %d and %d", a, b, isA, isB)
	}
}
