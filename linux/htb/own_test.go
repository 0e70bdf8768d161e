package htb

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"sluice"
)

// TestOwnChangesAreNotReported changes the state a few hundred times under
// load while the driver runs, and another program reads classes, which the
// kernel announces.
func TestOwnChangesAreNotReported(t *testing.T) {
	w := newWatch(t)
	w.host.Veth("vif1", "198.51.100.1/24", w.vm, "eth1", "198.51.100.2/24")
	time.Sleep(quiet)
	w.reports()
	ended, flood := make(chan struct{}), time.Now().Add(8*time.Second)
	for _, address := range []string{"192.0.2.1:9", "198.51.100.1:9"} {
		w.vm.Do(func() {
			c, err := net.Dial("udp", address)
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 1400); time.Now().Before(flood); time.Sleep(100 * time.Microsecond) {
					_, _ = c.Write(b)
				}
				ended <- struct{}{}
			}()
		})
	}
	go func() {
		w.host.Do(func() {
			for ; time.Now().Before(flood); time.Sleep(5 * time.Millisecond) {
				_, _, _ = Lookup("vif0", sluice.Tx)
			}
		})
		ended <- struct{}{}
	}()
	second := sluice.VIF{VM: "db", Device: "vif1"}
	random := rand.New(rand.NewPCG(1, 2))
	sets := 0
	for ; time.Now().Before(flood); sets++ {
		rate := sluice.Rate(1+random.IntN(50)) * mbit
		a := alloc(rate, sluice.Rate(random.IntN(2))*mbit, 1+random.IntN(1000), 0, "")
		a.Rx.Limit = sluice.Rate(1+random.IntN(50)) * mbit
		if a.Tx.Guarantee > 0 {
			a.Tx.Priority = random.IntN(2)
		}
		w.state.Capacity.Tx = sluice.Rate(60+20*random.IntN(3)) * mbit
		w.state.Groups = map[string]sluice.Allocations{"gold": grouped(sluice.HostGroup, sluice.Rate(30+random.IntN(30))*mbit)}
		if random.IntN(3) == 0 {
			a.Group = "gold"
		}
		w.state.VIFs = map[string]sluice.Bound{w.vif.Key(): {VIF: w.vif, Want: a}}
		if random.IntN(3) > 0 {
			w.state.VIFs[second.Key()] = sluice.Bound{VIF: second, Want: alloc(10*mbit, 0, 1+random.IntN(1000), 0, a.Group)}
		}
		w.set()
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		}
	}
	for range 3 {
		<-ended
	}
	time.Sleep(quiet)
	if told := w.reports(); len(told) > 0 {
		t.Errorf("%d reports of %d changes of our own: %+v", len(told), sets, told)
	}
	if sets < 200 {
		t.Errorf("only %d changes", sets)
	}
}
