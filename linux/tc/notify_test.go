package tc_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/linux/netnstest"
	"sluice/linux/tc"
)

// A bridge's ports that come to forward are no change of the devices, and
// their joining, leaving and new names are.
func TestAnnouncements(t *testing.T) {
	n := netnstest.New(t)
	ip := func(args string) {
		t.Helper()
		var out []byte
		var err error
		n.Do(func() { out, err = exec.Command("/bin/sh", "-c", args).CombinedOutput() })
		if err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	ip("ip link add br0 type bridge && ip link set br0 up && ip link add vif1 type veth peer name other && ip link set vif1 up && ip link set other up")
	var events *tc.Events
	var err error
	var vif *net.Interface
	n.Do(func() {
		if vif, err = net.InterfaceByName("vif1"); err == nil {
			events, err = tc.Subscribe()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	heard := make(chan tc.Event, 100)
	go func() {
		defer close(heard)
		for {
			got, err := events.Receive()
			if err != nil {
				return
			}
			for _, e := range got {
				heard <- e
			}
		}
	}()
	// count is how many announcements of the vif there were until it is quiet.
	count := func() (n int) {
		for {
			select {
			case e := <-heard:
				if e.Link && e.Ifindex == vif.Index {
					n++
				}
			case <-time.After(300 * time.Millisecond):
				return n
			}
		}
	}
	count()
	for _, c := range []struct {
		does string
		told bool
	}{
		{"ip link set vif1 master br0", true},
		{"bridge link set dev vif1 state 1", false}, // listening
		{"bridge link set dev vif1 state 3", false}, // forwarding
		{"ip link set vif1 nomaster", true},
		{"ip link set vif1 name vif2", true},
		{"ip link set vif2 down", true},
		{"ip link set vif2 address 02:00:00:00:00:09", true},
		{"ip link del vif2", true},
	} {
		ip(c.does)
		if n := count(); (n > 0) != c.told {
			t.Errorf("%s: %d announcements", strings.TrimSpace(c.does), n)
		}
	}
}
