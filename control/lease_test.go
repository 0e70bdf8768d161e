package control_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

func lent(v sluice.VIF, r sluice.Rate, d time.Duration) control.Request {
	q := limit(v, r)
	q.For = d
	return q
}

func (h *host) ask(r control.Request) sluice.Change {
	h.Helper()
	c, err := h.Set(context.Background(), r)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// back waits until the vif has what it is to revert to.
func (h *host) back(v sluice.VIF, to sluice.Allocations) {
	h.Helper()
	h.eventually("it reverted", func() bool {
		n := h.node(v)
		return n.Value.Terms() == to && n.State == sluice.Connected && n.Lease.Change == 0
	})
	h.agree(v, to)
}

// A change for a time reverts by a change of its own.
func TestFor(t *testing.T) {
	h := start(t)
	h.must(web, 10*sluice.Mbit)
	c := h.ask(lent(web, 20*sluice.Mbit, time.Second))
	if c.Until == nil || c.Until.Sub(c.At) != time.Second || c.Back.Terms() != limited(10*sluice.Mbit) || c.Confirm {
		t.Errorf("%+v", c)
	}
	h.agree(web, limited(20*sluice.Mbit))
	h.back(web, limited(10*sluice.Mbit))
	all, err := h.Changes(t.Context(), 10)
	if err != nil || len(all) != 3 || all[0].By != "sluice" || all[0].Undoes != c.ID || all[0].Result != sluice.Done || all[0].At.Before(*c.Until) {
		t.Errorf("%+v, %v", all, err)
	}
}

// A later change supersedes it; a failed one does not, and a further
// temporary one leads back to the last value that was to last.
func TestForSuperseded(t *testing.T) {
	h := start(t)
	first := h.ask(lent(web, 20*sluice.Mbit, 2*time.Second))
	h.must(web, 30*sluice.Mbit)
	h.ask(lent(ftp, 20*sluice.Mbit, time.Hour))
	h.kernel.interfere(func(_ context.Context, _ sluice.VIF, want sluice.Allocations) error {
		if want.Tx.Limit == 50*sluice.Mbit {
			return errors.New("no")
		}
		return nil
	})
	if _, err := h.Set(t.Context(), limit(ftp, 50*sluice.Mbit)); sluice.CodeOf(err) != sluice.NotApplied {
		t.Fatal(err)
	}
	if n := h.node(ftp); n.Lease.Change == 0 {
		t.Error("a change that was undone ended the lease")
	}
	second := h.ask(lent(ftp, 40*sluice.Mbit, time.Second))
	if *second.Back != sluice.UnshapedBoth {
		t.Errorf("it reverts to %s", second.Back)
	}
	h.back(ftp, sluice.UnshapedBoth)
	time.Sleep(time.Until(first.Until.Add(300 * time.Millisecond)))
	h.agree(web, limited(30*sluice.Mbit))
}

// It reverts also when the daemon was away at its time, and when the VM
// was; and a kernel that refuses is asked again, later.
func TestForAway(t *testing.T) {
	dir := t.TempDir()
	h := newHost(t, dir, nil).run()
	h.ask(lent(web, 20*sluice.Mbit, time.Second))
	c := h.ask(lent(ftp, 20*sluice.Mbit, time.Second))
	h.stop()
	h.store.Close()
	time.Sleep(time.Until(*c.Until))

	h = newHost(t, dir, nil)
	h.inventory.set(web)
	var tries atomic.Int32
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		if v == web && want == sluice.UnshapedBoth {
			tries.Add(1)
			return errors.New("no")
		}
		return nil
	})
	h.run()
	h.eventually("its way back was tried", func() bool { return tries.Load() > 0 && h.node(web).State == sluice.Connected })
	time.Sleep(300 * time.Millisecond)
	if n := tries.Load(); n > 2 {
		t.Errorf("the kernel was asked %d times at once", n)
	}
	if n := h.node(web); n.Value.Terms() != limited(20*sluice.Mbit) || n.Lease.Change == 0 {
		t.Errorf("%+v", n)
	}
	// What is kept of the absent one reverts in time, too.
	h.eventually("the absent one's reverted", func() bool { return h.node(ftp).Value.Terms() == sluice.UnshapedBoth })
	h.inventory.set(web, ftp)
	h.back(ftp, sluice.UnshapedBoth)
}

// Confirmed, it lasts; not confirmed, it reverts.
func TestConfirm(t *testing.T) {
	h := start(t)
	ask := func(v sluice.VIF, d time.Duration) sluice.Change {
		r := limit(v, 20*sluice.Mbit)
		r.Confirm = d
		return h.ask(r)
	}
	c, lost := ask(web, 2*time.Second), ask(ftp, time.Second)
	kept, err := h.Confirm(t.Context(), c.ID, "root")
	if err != nil || kept.ConfirmedBy != "root" || !c.Confirm {
		t.Fatalf("%+v, %v", kept, err)
	}
	refused := func(id uint64, code sluice.Code, says string) {
		t.Helper()
		if _, err := h.Confirm(t.Context(), id, "root"); sluice.CodeOf(err) != code || !strings.Contains(err.Error(), says) {
			t.Errorf("confirming %d: %v; want %s and %q", id, err, code, says)
		}
	}
	refused(c.ID, sluice.Refused, "was confirmed already, by root")
	h.back(ftp, sluice.UnshapedBoth)
	refused(lost.ID, sluice.Refused, "is not in force any more: sluice to unlimited")
	refused(h.must(web1, sluice.Mbit).ID, sluice.Refused, "lasts already")
	refused(999, sluice.NotFound, "no change 999")
	time.Sleep(time.Until(c.Until.Add(200 * time.Millisecond)))
	h.agree(web, limited(20*sluice.Mbit))
	if j, err := h.Change(t.Context(), c.ID); err != nil || j.ConfirmedBy != "root" {
		t.Errorf("the journal says %+v, %v", j, err)
	}
}

func TestForBadInput(t *testing.T) {
	h := start(t)
	for says, d := range map[string][2]time.Duration{
		"only one of --for and --confirm": {time.Minute, time.Minute},
		"a change for 1ms is outside 1s":  {time.Millisecond, 0},
		"a change for -1m0s is outside":   {0, -time.Minute},
		"(try: 8784h0m0s)":                {control.MostLease + 1, 0},
	} {
		r := limit(web, sluice.Mbit)
		r.For, r.Confirm = d[0], d[1]
		if _, err := h.Set(t.Context(), r); sluice.CodeOf(err) != sluice.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v; want %q", d, err, says)
		}
	}
	h.agree(web, sluice.UnshapedBoth)
}

// It reverts also to a limit above what the link carries by then, and an
// undo does: such a limit harms nobody, and a later change of anything else is
// not refused for it.
func TestBackOnASmallerLink(t *testing.T) {
	w := &wire{now: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit}}
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Capacity, o.PutCapacity = w.capacity, w.put }).run()
	h.must(web, 700*sluice.Mbit)
	h.must(ftp, 700*sluice.Mbit)
	lower := h.must(ftp, 10*sluice.Mbit)
	h.ask(lent(web, 10*sluice.Mbit, time.Second))
	if _, err := h.SetLink(t.Context(), carry(sluice.Capacity{Tx: 500 * sluice.Mbit, Rx: 500 * sluice.Mbit})); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Undo(t.Context(), lower.ID, "root"); err != nil {
		t.Error(err)
	}
	h.back(web, limited(700*sluice.Mbit))
	h.ask(control.Request{VM: "web", Tx: &control.Patch{Weight: ptr(7)}})
}

// A group that was made for a time, and has members when it is over, goes when
// they have gone.
func TestGroupForATimeWithMembers(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	r := of("sale", 40*sluice.Mbit, 90*sluice.Mbit)
	r.For = time.Second
	h.ask(r)
	in := into(web, "sale")
	in.For = 2 * time.Second
	h.ask(in)
	time.Sleep(1300 * time.Millisecond)
	if g := h.groups(); len(g) != 1 {
		t.Errorf("groups: %+v", g)
	}
	h.back(web, sluice.UnshapedBoth)
	h.eventually("the group goes after its member", func() bool { return len(h.groups()) == 0 })
}
