package xen_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

// TestInventory follows a guest through all that happens to one: its settings
// stay its own.
func TestInventory(t *testing.T) {
	d := mustServe(t, "")
	g := start(t, 1, []string{",rate=10Mb/s", ""})
	ours := func() (found []sluice.VIF) {
		for _, v := range d.inventory.VIFs() {
			if v.UUID == g.uuid {
				found = append(found, v)
			}
		}
		return found
	}
	eventually(t, "two vifs", func() bool { return len(ours()) == 2 })
	v := ours()[0]
	if want := (sluice.VIF{VM: "vm1", UUID: g.uuid, Index: 0, MAC: "00:16:3e:07:01:00", Device: fmt.Sprintf("vif%d.0", g.domid(t))}); v != want {
		t.Errorf("the inventory says %+v, want %+v", v, want)
	}
	if ours()[1].Index != 1 || ours()[1].MAC != "00:16:3e:07:01:01" {
		t.Errorf("the second vif is %+v", ours()[1])
	}

	t.Run("what xl said is shown and kept", func(t *testing.T) {
		eventually(t, "the limit of rate= among the settings", func() bool {
			return d.Settings()[v.Key()].Value.Tx.Limit == 10*sluice.Mbit
		})
		if got := creditOf(t, v.Device); got[0] != "62500,50000" {
			t.Errorf("xl's credit has become %s", got)
		}
	})
	t.Run("each vif has its own", func(t *testing.T) {
		c := d.set(t, "vm1", 0, limit(20*sluice.Mbit), limit(40*sluice.Mbit))
		if c.From.Tx.Limit != 10*sluice.Mbit {
			t.Errorf("the change is from %s, want xl's 10mbit", c.From.Tx)
		}
		d.set(t, "vm1", 1, limit(30*sluice.Mbit), nil)
		for path, want := range map[string]string{
			"0/sluice/tx/limit": "20mbit", "0/sluice/rx/limit": "40mbit", "0/sluice/created-rate": "62500,50000",
			"1/sluice/tx/limit": "30mbit", "1/sluice/rx/limit": "unlimited", "0/state": "4", "1/state": "4",
		} {
			if got := must(t, fmt.Sprintf("xenstore-read /local/domain/0/backend/vif/%d/%s", g.domid(t), path)); got != want {
				t.Errorf("%s is %q, want %q", path, got, want)
			}
		}
	})
	t.Run("undo restores what xl said", func(t *testing.T) {
		c := d.set(t, "vm1", 0, limit(5*sluice.Mbit), nil)
		if _, err := d.Undo(context.Background(), c.ID, "test"); err != nil {
			t.Fatal(err)
		}
		if got := d.Settings()[v.Key()].Value.Tx.Limit; got != 20*sluice.Mbit {
			t.Errorf("after the undo: %s", got)
		}
	})
	t.Run("by hand", func(t *testing.T) {
		back := g.backend(t, 1)
		must(t, fmt.Sprintf("xenstore-write %[1]s/sluice/tx/limit 12mbit && xenstore-write %[1]s/state 7", back))
		eventually(t, "Connected again", func() bool { return must(t, "xenstore-read "+back+"/state") == "4" })
		eventually(t, "a change by xenstore in the journal, done", func() bool {
			changes, err := d.Changes(context.Background(), 1)
			return err == nil && changes[0].By == "xenstore" && changes[0].Result == sluice.Done && changes[0].To.Tx.Limit == 12*sluice.Mbit
		})
		before := creditOf(t, ours()[1].Device)
		must(t, fmt.Sprintf("xenstore-write %[1]s/sluice/tx/limit 12mbps && xenstore-write %[1]s/state 7", back))
		eventually(t, "Connected again", func() bool { return must(t, "xenstore-read "+back+"/state") == "4" })
		eventually(t, "the senseless value undone in the journal", func() bool {
			changes, err := d.Changes(context.Background(), 1)
			return err == nil && changes[0].Result == sluice.Undone && strings.Contains(changes[0].Error, "ambiguous")
		})
		if got := must(t, "xenstore-read "+back+"/sluice/tx/limit"); got != "12mbit" {
			t.Errorf("the value is %q", got)
		}
		if got := creditOf(t, ours()[1].Device); got[0] != before[0] {
			t.Errorf("a senseless value moved the kernel from %s to %s", before, got)
		}
	})
	held := func(t *testing.T) {
		t.Helper()
		back := g.backend(t, 0)
		eventually(t, "its settings in xenstore and in the kernel", func() bool {
			value, _ := shell("xenstore-read " + back + "/sluice/tx/limit")
			credit, _ := shell(fmt.Sprintf("grep Credit /sys/kernel/debug/xen-netback/vif%d.0/io_ring_q0", g.domid(t)))
			class, _ := shell(fmt.Sprintf("tc class show dev vif%d.0", g.domid(t)))
			return value == "20mbit" && strings.Contains(credit, "credit: 168750, usec: 50000") && strings.Contains(class, "rate 40Mbit")
		})
	}
	t.Run("rename", func(t *testing.T) {
		must(t, "xl rename vm1 other")
		eventually(t, "the new name", func() bool { return len(ours()) == 2 && ours()[0].VM == "other" })
		d.set(t, "other", 0, limit(20*sluice.Mbit), nil)
		must(t, "xl rename other vm1")
		eventually(t, "the old name", func() bool { return ours()[0].VM == "vm1" })
		held(t)
	})
	t.Run("unplug and plug", func(t *testing.T) {
		must(t, "xl network-detach vm1 00:16:3e:07:01:01")
		eventually(t, "one vif", func() bool { return len(ours()) == 1 })
		if _, err := d.Set(context.Background(), control.Request{VM: "vm1", VIF: 1, Tx: limit(sluice.Mbit)}); sluice.CodeOf(err) != sluice.NotFound {
			t.Errorf("setting an unplugged vif: %v", err)
		}
		must(t, "xl network-attach vm1 mac=00:16:3e:07:01:01 bridge=xenbr0")
		eventually(t, "two vifs", func() bool { return len(ours()) == 2 })
		eventually(t, "its settings", func() bool {
			got, _ := shell("xenstore-read " + g.backend(t, ours()[1].Index) + "/sluice/tx/limit")
			return got == "12mbit"
		})
	})
	t.Run("reboot", func(t *testing.T) {
		before := g.domid(t)
		must(t, "xl reboot vm1")
		eventually(t, "another domain", func() bool {
			now, err := shell("xl domid vm1")
			return err == nil && now != strconv.Itoa(before)
		})
		g.ready(t)
		held(t)
	})
	t.Run("save and restore", func(t *testing.T) {
		before := g.domid(t)
		must(t, "xl save vm1 /tmp/vm1.saved")
		eventually(t, "no vif", func() bool { return len(ours()) == 0 })
		must(t, "xl restore /tmp/vm1.saved && rm /tmp/vm1.saved")
		if g.domid(t) == before {
			t.Fatal("it is the same domain")
		}
		held(t)
		g.ready(t)
	})
	t.Run("death in the middle", func(t *testing.T) {
		v := ours()[0]
		ended := make(chan error, 1)
		go func() {
			var err error
			for i := sluice.Rate(0); err == nil; i++ {
				_, err = d.Set(context.Background(), control.Request{VM: "vm1", Tx: limit((10 + i%10) * sluice.Mbit), By: "test"})
			}
			ended <- err
		}()
		time.Sleep(time.Second)
		must(t, "xl destroy vm1")
		select {
		case err := <-ended:
			if code := sluice.CodeOf(err); code != sluice.NotFound && code != sluice.NotApplied && code != sluice.Refused {
				t.Errorf("changing a VM that dies: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("no answer")
		}
		eventually(t, "no vif, and nothing pending", func() bool {
			node, err := d.Store.Get(context.Background(), v.Key())
			return len(ours()) == 0 && err == nil && node.State == sluice.Connected
		})
		if out, err := shell(fmt.Sprintf("xenstore-ls /local/domain/0/backend/vif | grep sluice; ls /local/domain/0/backend/vif/%s 2>/dev/null", v.Device)); err == nil && out != "" {
			t.Errorf("left in xenstore: %s", out)
		}
	})
}

// TestTwoQueues limits a guest whose vif has two queues.
func TestTwoQueues(t *testing.T) {
	must(t, "echo 2 > /sys/module/xen_netback/parameters/max_queues")
	defer must(t, "echo 1 > /sys/module/xen_netback/parameters/max_queues")
	d := mustServe(t, "")
	g := start(t, 1, []string{""}, "vcpus=2")
	eventually(t, "the vif", func() bool { return len(d.inventory.VIFs()) == 1 })
	if q := d.inventory.Interfaces()[0].Queues; q != 2 {
		t.Fatalf("%d queues", q)
	}
	d.set(t, "vm1", 0, limit(20*sluice.Mbit), nil)
	if got := creditOf(t, d.inventory.VIFs()[0].Device); len(got) != 2 || got[0] != got[1] || got[0] != wall(20*sluice.Mbit) {
		t.Errorf("the queues have %s", got)
	}
	within(t, "tx through two queues", g.mustFlow(t, sluice.Tx, 4, "-P", "4"), 20*sluice.Mbit, 3)
	d.set(t, "vm1", 0, limit(sluice.Unlimited), nil)
	if got := creditOf(t, d.inventory.VIFs()[0].Device); got[0] != "18446744073709551615,0" || got[1] != got[0] {
		t.Errorf("after lifting the limit: %s", got)
	}
}

// wall is the credit that goes with a limit: a quarter above it.
func wall(limit sluice.Rate) string {
	return fmt.Sprintf("%d,50000", uint64(float64(limit)/8*1.25*.054))
}

// within checks a TCP payload rate against a limit's ideal.
func within(t testing.TB, what string, got float64, set sluice.Rate, percent float64) {
	t.Helper()
	share := 100 * got / (float64(set) * payload)
	t.Logf("%s: %.2f Mbit/s of payload, %.2f %% of %s's ideal", what, got/1e6, share, set)
	if share < 100-percent || share > 100+percent {
		t.Errorf("%s: %.2f %% of the ideal", what, share)
	}
}

// TestKilled kills the daemon at every step of a change. The next start
// finishes or undoes it: journal, xenstore and kernel agree.
func TestKilled(t *testing.T) {
	g := start(t, 1, []string{""})
	dir := t.TempDir()
	child(t, childJob{dir, "vm1", 10 * sluice.Mbit}, "")
	set := sluice.Rate(20)
	for _, point := range []string{"located", "before-begin", "journalled", "after-begin", "before-apply", "after-apply", "before-finish", "restored", "after-finish", "before-answer"} {
		t.Run(point, func(t *testing.T) {
			set++
			child(t, childJob{dir, "vm1", set * sluice.Mbit}, point)
			d, err := serve(dir, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer d.stop()
			v := d.inventory.VIFs()[0]
			var node control.Node
			eventually(t, "no change under way", func() bool {
				node, err = d.Store.Get(context.Background(), v.Key())
				return err == nil && node.State == sluice.Connected
			})
			changes, err := d.Changes(context.Background(), 1)
			if err != nil || changes[0].Result == sluice.Pending {
				t.Fatalf("the journal says %+v, %v", changes, err)
			}
			want := node.Value.Tx.Limit
			if want != set*sluice.Mbit && point != "located" && point != "before-begin" {
				t.Errorf("the change was journalled, and is %s", want)
			}
			eventually(t, "xenstore and the kernel to agree on "+want.String(), func() bool {
				back := g.backend(t, 0)
				return must(t, "xenstore-read "+back+"/state") == "4" &&
					must(t, "xenstore-read "+back+"/sluice/tx/limit") == want.String() &&
					creditOf(t, v.Device)[0] == wall(want) &&
					strings.Contains(must(t, "tc class show dev "+v.Device), fmt.Sprintf("rate %dMbit", want/sluice.Mbit))
			})
		})
	}
}

// TestXenstoredFails delays, refuses and cuts xenstored's answers.
func TestXenstoredFails(t *testing.T) {
	g := start(t, 1, []string{""})
	p := newProxy(t)
	d := mustServe(t, p.socket)
	d.set(t, "vm1", 0, limit(20*sluice.Mbit), nil)

	p.delay(50 * time.Millisecond)
	d.set(t, "vm1", 0, limit(21*sluice.Mbit), nil)
	p.delay(0)

	agreed := func(want sluice.Rate) {
		t.Helper()
		eventually(t, "journal, xenstore and kernel to agree", func() bool {
			node, err := d.Store.Get(context.Background(), d.inventory.VIFs()[0].Key())
			state := must(t, "xenstore-read "+g.backend(t, 0)+"/state")
			value := must(t, "xenstore-read "+g.backend(t, 0)+"/sluice/tx/limit")
			return err == nil && node.State == sluice.Connected && state == "4" && (want == 0 || node.Value.Tx.Limit == want) && value == node.Value.Tx.Limit.String() &&
				creditOf(t, d.inventory.VIFs()[0].Device)[0] == wall(node.Value.Tx.Limit)
		})
	}
	for cut := 1; cut <= 60; cut += 8 { // at ever later requests of a change
		p.cutAfter(cut)
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		_, err := d.Set(ctx, control.Request{VM: "vm1", Tx: limit(sluice.Rate(22+cut) * sluice.Mbit), By: "test"})
		cancel()
		p.cutAfter(0)
		if err != nil && sluice.CodeOf(err) != sluice.Unavailable && sluice.CodeOf(err) != sluice.NotApplied {
			t.Errorf("cut after %d answers: %v", cut, err)
		}
		agreed(0)
	}
	p.refuse(true)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if _, err := d.Set(ctx, control.Request{VM: "vm1", Tx: limit(99 * sluice.Mbit), By: "test"}); sluice.CodeOf(err) != sluice.Unavailable {
		t.Errorf("without xenstored: %v", err)
	}
	p.refuse(false)
	agreed(0)
	d.set(t, "vm1", 0, limit(33*sluice.Mbit), nil)
	agreed(33 * sluice.Mbit)
	if _, err := os.Stat(p.socket); errors.Is(err, os.ErrNotExist) {
		t.Error("the proxy has gone")
	}
}
