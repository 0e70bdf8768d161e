package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
)

// TestProfiles does what an operator does who wants new VMs to have settings
// before anybody sets them.
func TestProfiles(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	h.sluice("profile", "set", "small", "20mbit", "--guarantee", "2mbit")
	if out := h.sluice("profile", "default", "small"); !strings.Contains(out, "web vif 0: 20mbit guarantee 2mbit by profile small, was unlimited; verified") {
		t.Errorf("the default:\n%s", out)
	}
	if got := h.kernel(); got != [2]uint64{20e6, 20e6} {
		t.Errorf("the kernel holds %v", got)
	}
	h.sluice("set", "web", "0", "--tx", "5mbit")
	if out := h.sluice("show", "web"); !strings.Contains(out, "set for it itself: tx limit; by profile small (it is the default): tx guarantee, rx limit, rx guarantee") {
		t.Errorf("where its values come from:\n%s", out)
	}
	if _, text, status := h.try("profile", "set", "small", "20mbit", "--guarantee", "20gbit"); status == 0 || !strings.Contains(text, "nothing was changed") && !strings.Contains(text, "no vif was changed") {
		t.Errorf("a guarantee of more than the link: %d, %s", status, text)
	}
	h.sluice("profile", "set", "small", "30mbit")
	if got := h.kernel(); got != [2]uint64{5e6, 30e6} {
		t.Errorf("the kernel holds %v", got)
	}
	h.sluice("set", "web", "0", "--reset")
	if got := h.kernel(); got != [2]uint64{30e6, 30e6} {
		t.Errorf("the kernel holds %v", got)
	}
	if _, text, status := h.try("profile", "match", "new*", "gold"); status == 0 || !strings.Contains(text, "none of that name") {
		t.Errorf("a profile that is not there: %d, %s", status, text)
	}
	h.sluice("profile", "default", "none")
	if got := h.kernel(); got != [2]uint64{} {
		t.Errorf("without a profile the kernel holds %v", got)
	}
}

// TestProfileFirstFrame measures what passes of a new vif before its profile
// is in force: its VM sends as soon as it can.
func TestProfileFirstFrame(t *testing.T) {
	h := newHost(t, "")
	h.start()
	h.ready()
	h.sluice("profile", "set", "small", "8mbit")
	h.sluice("profile", "match", "new*", "small")
	var outside net.PacketConn
	var err error
	h.ns.Do(func() { outside, err = net.ListenPacket("udp", "192.0.2.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	to := outside.LocalAddr()
	var mu sync.Mutex
	var arrived []time.Time
	go func() {
		for buf := make([]byte, 100); ; {
			if _, _, err := outside.ReadFrom(buf); err != nil {
				return
			}
			mu.Lock()
			arrived = append(arrived, time.Now())
			mu.Unlock()
		}
	}()
	var slowest time.Duration
	var frames []int
	const vms = 20
	for i := range vms {
		name := fmt.Sprintf("new%d", i)
		h.ns.Veth(name, "", h.vm, name+"p", "")
		h.vm.Do(func() { h.ip(fmt.Sprintf("addr add 192.0.2.%d/24 dev %sp\nlink set %sp up", 100+i, name, name)) })
		stop := make(chan struct{})
		sent := make(chan struct{})
		go func() { // 1,000 frames a second, from before it is plugged in
			defer close(sent)
			var c net.PacketConn
			h.vm.Do(func() { c, _ = net.ListenPacket("udp", fmt.Sprintf("192.0.2.%d:0", 100+i)) })
			defer c.Close()
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				_, _ = c.WriteTo(make([]byte, 64), to)
			}
		}()
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		arrived = nil
		mu.Unlock()
		begin := time.Now()
		h.ns.Do(func() { h.ip(fmt.Sprintf("link set %s master br0 up", name)) })
		time.Sleep(150 * time.Millisecond) // whoever asks takes the processor from whom it is asked of
		var vif sluice.VIFStatus
		for until := begin.Add(10 * time.Second); vif.Tx.Limit != 8e6; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s never had its profile: %+v\n%s", name, vif, h.log)
			}
			var changes []sluice.Change
			if err := json.Unmarshal([]byte(h.sluice("changes", "-o", "json")), &changes); err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if c.VM == name && c.Verified {
					vif.Tx.Limit = c.To.Tx.Limit
					inForce := c.States[len(c.States)-1].At
					slowest = max(slowest, inForce.Sub(begin))
					mu.Lock()
					frames = append(frames, slices.IndexFunc(append(arrived, time.Now()), inForce.Before))
					mu.Unlock()
				}
			}
		}
		close(stop)
		<-sent
		h.ns.Do(func() { h.ip("link del " + name) })
	}
	slices.Sort(frames)
	t.Logf("of 1,000 frames a second %d passed before the profile was in force, at the median of %d; at most %d; the slowest took %s", frames[vms/2], vms, frames[vms-1], slowest)
	if slowest > time.Second { // a machine that stands still for long is another's fault
		t.Errorf("after %s", slowest)
	}
}
