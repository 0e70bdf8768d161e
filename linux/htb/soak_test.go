package htb

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice"
	"sluice/linux/tc"
)

// differs compares the kernel, read by another connection, with the plan: of
// every vif the class and the groups' above it, and that nothing else is there.
func (w *watch) differs() (what []string) {
	w.htb.lock <- struct{}{}
	state, trees := w.htb.state, map[sluice.Direction]Tree{}
	for _, d := range sluice.Directions {
		trees[d] = Plan(state, d, w.htb.activity[d])
	}
	w.htb.unlock()
	w.host.Do(func() {
		conn, err := tc.Dial()
		if err != nil {
			w.Error(err)
			return
		}
		defer conn.Close()
		for _, d := range sluice.Directions {
			ifb, there, _ := conn.LinkByName(ifbName(d))
			have := map[tc.Handle]tc.Class{}
			if there {
				_ = conn.Classes(ifb.Index, func(c tc.Class) { have[c.Handle] = c })
			}
			nodes, seen := map[string]Node{}, map[tc.Handle]string{handleOf(rootMinor): ""}
			for _, n := range trees[d].Nodes {
				nodes[n.Name] = n
			}
			for _, n := range trees[d].Nodes {
				if n.Group() {
					continue
				}
				c, ok, err := Lookup(w.state.VIFs[n.Name].VIF.Device, d)
				for at := n.Name; ok && at != ""; at = nodes[at].Parent {
					if c = have[c.Handle]; !c.Is(nodes[at].Class) {
						what = append(what, fmt.Sprintf("%s of %s: %+v is not %s", at, d, c, classText(nodes[at].Class)))
					}
					seen[c.Handle] = at
					c = have[c.Parent]
				}
				if err != nil || !ok || c.Handle != handleOf(rootMinor) {
					what = append(what, fmt.Sprintf("%s of %s: %v, %v, ends at %s", n.Name, d, ok, err, c.Handle))
				}
			}
			for handle := range have {
				if _, ok := seen[handle]; !ok {
					what = append(what, fmt.Sprintf("class %s of %s is too much", handle, d))
				}
			}
		}
	})
	return what
}

// TestSoak sets states at random under load, has other programs disturb what
// is there and daemons start anew, and after each the kernel is as planned
// within a second, or two where what waits is to be sent first.
func TestSoak(t *testing.T) {
	w := &watch{bench: newBench(t)}
	const vifs = 5
	for i := range vifs {
		w.run("ip", "link", "add", fmt.Sprint("v", i), "up", "type", "veth", "peer", "name", fmt.Sprint("p", i))
		w.run("ip", "link", "set", fmt.Sprint("p", i), "up")
	}
	w.begin()
	stopped := make(chan struct{})
	end := time.Now().Add(5 * time.Second)
	w.vm.Do(func() {
		c, err := net.Dial("udp", "192.0.2.1:9")
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			defer close(stopped)
			defer c.Close()
			for b := make([]byte, 1400); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
				_, _ = c.Write(b)
			}
		}()
	})
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	rate := func() sluice.Rate {
		return []sluice.Rate{sluice.MinLimit, mbit, 5 * mbit, 50 * mbit, none}[random.IntN(5)]
	}
	one := func(group string) sluice.Allocations {
		a := alloc(rate(), 0, 1+random.IntN(500), 0, group)
		a.Rx.Limit = rate()
		if random.IntN(2) == 0 {
			a.Tx.Guarantee = min(a.Tx.Limit, mbit)
			a.Tx.Priority = random.IntN(2)
		}
		return a
	}
	disturbances := []string{"true", "true", "ip link del sluice-tx", "ip link set sluice-rx down", "tc qdisc del dev sluice-tx root", "tc qdisc del dev vif0 clsact",
		"tc qdisc del dev v1 clsact", "tc filter del dev v2 egress", "tc filter del dev sluice-tx parent 51ce:",
		"tc class show dev sluice-tx | awk '/leaf/ {print $3}' | shuf -n1 | xargs -n1 tc class del dev sluice-tx classid",
		"tc class show dev sluice-tx | awk '/leaf/ {print $3 \" parent \" $5}' | shuf -n1 | xargs -r tc class change dev sluice-tx htb rate 3mbit classid"}
	var last string
	rounds, most := 0, time.Duration(0)
	for round := 0; time.Now().Before(end) && !t.Failed(); round++ {
		rounds++
		w.state.Capacity = sluice.Capacity{Tx: []sluice.Rate{none, 20 * mbit, gbit}[random.IntN(3)], Rx: none}
		groups, names := map[string]sluice.Allocations{}, []string{"", ""}
		for i := range random.IntN(4) {
			parent := names[random.IntN(len(names))]
			if parent == "" {
				parent = sluice.HostGroup
			}
			name := fmt.Sprint("g", i)
			groups[name] = one(parent)
			names = append(names, name)
		}
		w.state.Groups, w.state.VIFs = groups, map[string]sluice.Bound{}
		if random.IntN(4) > 0 {
			w.state.VIFs[w.vif.Key()] = sluice.Bound{VIF: w.vif, Want: one(names[random.IntN(len(names))])}
		}
		for i := range vifs {
			if v := (sluice.VIF{VM: fmt.Sprint("vm", i), Device: fmt.Sprint("v", i)}); random.IntN(3) > 0 {
				w.state.VIFs[v.Key()] = sluice.Bound{VIF: v, Want: one(names[random.IntN(len(names))])}
			}
		}
		if random.IntN(6) == 0 { // another daemon takes over
			w.stop()
			w.start()
			w.begin()
			last = "a start, "
		}
		w.set()
		begin, do := time.Now(), disturbances[random.IntN(len(disturbances))]
		w.run("sh", "-c", do+" 2>/dev/null || true")
		last += do
		left := w.differs()
		for len(left) > 0 && time.Since(begin) < 3*time.Second {
			time.Sleep(20 * time.Millisecond)
			left = w.differs()
		}
		if took := time.Since(begin); len(left) > 0 {
			t.Errorf("seed %d, round %d, after %s: after %v:\n%s\nthe vifs %v\nthe problems %v", seed, round, last, took, strings.Join(left, "\n"),
				slices.Sorted(maps.Keys(w.state.VIFs)), w.htb.Problems())
		} else if took > 2*time.Second {
			t.Errorf("seed %d, round %d, after %s: it took %v", seed, round, last, took)
		}
		most = max(most, time.Since(begin))
		last = ""
	}
	t.Logf("%d rounds, at most %v until all was so", rounds, most)
	<-stopped
}
