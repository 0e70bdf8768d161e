package xen_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice"
)

// TestInventory follows a guest through all that happens to one: its settings
// stay its own.
func TestInventory(t *testing.T) {
	d := serve(t)
	g := start(t, 4, []string{",rate=10Mb/s", ""})
	ours := func() []sluice.VIFStatus { return d.vifs(t, g.uuid) }
	eventually(t, "two vifs", func() bool { return len(ours()) == 2 })
	v := ours()[0].VIF
	if want := (sluice.VIF{ID: g.uuid + "/00:16:3e:07:04:00", VM: "vm4", UUID: g.uuid, Index: 0, MAC: "00:16:3e:07:04:00", Device: fmt.Sprintf("vif%d.0", g.domid(t))}); v != want {
		t.Errorf("the inventory says %+v, want %+v", v, want)
	}
	if ours()[1].Index != 1 || ours()[1].MAC != "00:16:3e:07:04:01" {
		t.Errorf("the second vif is %+v", ours()[1])
	}

	t.Run("what xl said is shown and kept", func(t *testing.T) {
		eventually(t, "the limit of rate= among the settings", func() bool {
			return ours()[0].Tx.Limit == 10*sluice.Mbit
		})
		if got := creditOf(t, v.Device); got[0] != "62500,50000" {
			t.Errorf("xl's credit has become %s", got)
		}
	})
	t.Run("each vif has its own", func(t *testing.T) {
		c := d.set(t, "vm4", 0, limit(20*sluice.Mbit), limit(40*sluice.Mbit))
		if c.From.Tx.Limit != 10*sluice.Mbit {
			t.Errorf("the change is from %s, want xl's 10mbit", c.From.Tx)
		}
		d.set(t, "vm4", 1, limit(30*sluice.Mbit), nil)
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
		c := d.set(t, "vm4", 0, limit(5*sluice.Mbit), nil)
		d.sluice(t, "undo", strconv.FormatUint(c.ID, 10))
		if got := ours()[0].Tx.Limit; got != 20*sluice.Mbit {
			t.Errorf("after the undo: %s", got)
		}
	})
	t.Run("by hand", func(t *testing.T) {
		back := g.backend(t, 1)
		must(t, fmt.Sprintf("xenstore-write %[1]s/sluice/tx/limit 12mbit && xenstore-write %[1]s/state 7", back))
		eventually(t, "Connected again", func() bool { return must(t, "xenstore-read "+back+"/state") == "4" })
		eventually(t, "a change by xenstore in the journal, done", func() bool {
			c := d.last(t)
			return c.By == "xenstore" && c.Result == sluice.Done && c.To.Tx.Limit == 12*sluice.Mbit
		})
		before := creditOf(t, ours()[1].Device)
		must(t, fmt.Sprintf("xenstore-write %[1]s/sluice/tx/limit 12mbps && xenstore-write %[1]s/state 7", back))
		eventually(t, "Connected again", func() bool { return must(t, "xenstore-read "+back+"/state") == "4" })
		eventually(t, "the senseless value undone in the journal", func() bool {
			c := d.last(t)
			return c.Result == sluice.Undone && strings.Contains(c.Error, "ambiguous")
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
			return value == "20mbit" && strings.Contains(credit, "credit: 168750, usec: 50000") && shaped(t, sluice.Tx, 20*sluice.Mbit) && shaped(t, sluice.Rx, 40*sluice.Mbit)
		})
	}
	t.Run("rename", func(t *testing.T) {
		must(t, "xl rename vm4 other")
		eventually(t, "the new name", func() bool { return len(ours()) == 2 && ours()[0].VM == "other" })
		d.set(t, "other", 0, limit(20*sluice.Mbit), nil)
		must(t, "xl rename other vm4")
		eventually(t, "the old name", func() bool { return ours()[0].VM == "vm4" })
		held(t)
	})
	t.Run("unplug and plug", func(t *testing.T) {
		must(t, "xl network-detach vm4 00:16:3e:07:04:01")
		eventually(t, "one vif", func() bool { return len(ours()) == 1 })
		if c, err := d.ask("vm4", 1, limit(13*sluice.Mbit), nil); err != nil || c.Result != sluice.Done {
			t.Errorf("setting an unplugged vif, which holds when it is plugged in: %v %+v", err, c)
		}
		must(t, "xl network-attach vm4 mac=00:16:3e:07:04:01 bridge=xenbr0")
		eventually(t, "two vifs", func() bool { return len(ours()) == 2 })
		eventually(t, "its settings", func() bool {
			got, _ := shell("xenstore-read " + g.backend(t, ours()[1].Index) + "/sluice/tx/limit")
			return got == "13mbit"
		})
	})
	t.Run("reboot", func(t *testing.T) {
		before := g.domid(t)
		must(t, "xl reboot vm4")
		eventually(t, "another domain", func() bool {
			now, err := shell("xl domid vm4")
			return err == nil && now != strconv.Itoa(before)
		})
		g.ready(t)
		held(t)
	})
	t.Run("save and restore", func(t *testing.T) {
		before := g.domid(t)
		must(t, "xl save vm4 /tmp/vm4.saved")
		eventually(t, "no vif", func() bool { return len(ours()) == 0 })
		must(t, "xl restore /tmp/vm4.saved && rm /tmp/vm4.saved")
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
			c, err := sluice.Change{Verified: true}, error(nil)
			for i := sluice.Rate(0); err == nil && c.Verified; i++ {
				c, err = d.ask("vm4", 0, limit((10+i%10)*sluice.Mbit), nil)
			}
			ended <- err // none: it was kept for when the VM comes
		}()
		time.Sleep(time.Second)
		must(t, "xl destroy vm4")
		select {
		case err := <-ended:
			if code := sluice.CodeOf(err); err != nil && code != sluice.NotFound && code != sluice.NotApplied && code != sluice.Refused {
				t.Errorf("changing a VM that dies: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("no answer")
		}
		eventually(t, "no vif, and nothing pending", func() bool { return len(ours()) == 0 && d.last(t).Result != sluice.Pending })
		if out, err := shell(fmt.Sprintf("xenstore-ls /local/domain/0/backend/vif | grep sluice; ls /local/domain/0/backend/vif/%s 2>/dev/null", v.Device)); err == nil && out != "" {
			t.Errorf("left in xenstore: %s", out)
		}
	})
}

// TestTwoQueues limits a guest whose vif has two queues.
func TestTwoQueues(t *testing.T) {
	must(t, "echo 2 > /sys/module/xen_netback/parameters/max_queues")
	defer must(t, "echo 1 > /sys/module/xen_netback/parameters/max_queues")
	d := serve(t)
	g := start(t, 5, []string{""}, "vcpus=2")
	eventually(t, "the vif", func() bool { return len(d.vifs(t, g.uuid)) == 1 })
	device := d.vifs(t, g.uuid)[0].Device
	d.set(t, "vm5", 0, limit(20*sluice.Mbit), nil)
	if got := creditOf(t, device); len(got) != 2 || got[0] != got[1] || got[0] != wall(20*sluice.Mbit) {
		t.Errorf("the queues have %s", got)
	}
	within(t, "tx through two queues", g.mustFlow(t, sluice.Tx, 4, "-P", "4"), 20*sluice.Mbit, 3)
	d.set(t, "vm5", 0, limit(sluice.Unlimited), nil)
	if got := creditOf(t, device); got[0] != "18446744073709551615,0" || got[1] != got[0] {
		t.Errorf("after lifting the limit: %s", got)
	}
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
	d, guests := guests(t, 1)
	g := guests[0]
	d.set(t, "vm1", 0, limit(110*sluice.Mbit), limit(110*sluice.Mbit))
	t.Cleanup(func() { serve(t) })
	set := 110 * sluice.Mbit
	for _, point := range []string{"located", "before-begin", "journalled", "after-begin", "before-apply", "after-apply", "before-finish", "restored", "after-finish", "before-answer"} {
		t.Run(point, func(t *testing.T) {
			d.stop(t)
			d.start(t, "SLUICE_FAULT="+point)
			set += sluice.Mbit
			// Once the store says done, who asked may read it there and answer.
			_, err := d.ask("vm1", 0, limit(set), limit(set))
			if done := err == nil && point == "after-finish"; !done && sluice.CodeOf(err) != sluice.Unavailable {
				t.Errorf("the daemon died and the answer was %v", err)
			}
			d.wait(t)
			d.start(t)
			eventually(t, "no change under way", func() bool {
				return d.vifs(t, g.uuid)[0].State == sluice.Connected && d.last(t).Result != sluice.Pending
			})
			v := d.vifs(t, g.uuid)[0]
			want := v.Tx.Limit
			if want != set && point != "located" && point != "before-begin" {
				t.Errorf("the change was journalled, and is %s", want)
			}
			eventually(t, "xenstore and the kernel to agree on "+want.String(), func() bool {
				return must(t, "xenstore-read "+g.backend(t, 0)+"/sluice/tx/limit "+g.backend(t, 0)+"/state") == want.String()+"\n4" &&
					creditOf(t, v.Device)[0] == wall(want) && shaped(t, sluice.Tx, want) && v.Rx.Limit == want && shaped(t, sluice.Rx, want)
			})
		})
	}
}

// TestXenstoredFails delays, refuses and cuts xenstored's answers.
func TestXenstoredFails(t *testing.T) {
	d, guests := guests(t, 1)
	g := guests[0]
	p := newProxy(t)
	d.stop(t)
	d.start(t, "XENSTORED_PATH="+p.socket)
	t.Cleanup(func() {
		if t.Failed() {
			d.said(t)
		}
		d.stop(t)
		serve(t)
	})
	d.set(t, "vm1", 0, limit(20*sluice.Mbit), nil)

	p.delay(50 * time.Millisecond)
	d.set(t, "vm1", 0, limit(21*sluice.Mbit), nil)
	p.delay(0)

	agreed := func(want sluice.Rate) {
		t.Helper()
		eventually(t, "journal, xenstore and kernel to agree", func() bool {
			v := d.vifs(t, g.uuid)
			return len(v) == 1 && v[0].State == sluice.Connected && d.last(t).Result != sluice.Pending && (want == 0 || v[0].Tx.Limit == want) &&
				must(t, "xenstore-read "+g.backend(t, 0)+"/sluice/tx/limit "+g.backend(t, 0)+"/state") == v[0].Tx.Limit.String()+"\n4" &&
				creditOf(t, v[0].Device)[0] == wall(v[0].Tx.Limit) && shaped(t, sluice.Tx, v[0].Tx.Limit)
		})
	}
	for cut := 1; cut <= 60; cut += 8 { // at ever later requests of a change
		p.cutAfter(cut)
		_, err := d.ask("vm1", 0, limit(sluice.Rate(22+cut)*sluice.Mbit), nil)
		p.cutAfter(0)
		if err != nil && sluice.CodeOf(err) != sluice.Unavailable && sluice.CodeOf(err) != sluice.NotApplied {
			t.Errorf("cut after %d answers: %v", cut, err)
		}
		agreed(0)
	}
	p.refuse(true)
	if _, err := d.ask("vm1", 0, limit(99*sluice.Mbit), nil); sluice.CodeOf(err) != sluice.Unavailable {
		t.Errorf("without xenstored: %v", err)
	}
	p.refuse(false)
	agreed(0)
	d.set(t, "vm1", 0, limit(33*sluice.Mbit), nil)
	agreed(33 * sluice.Mbit)
}
