package control_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

// The whole way: Connected, Reconfiguring, the kernel, Connected, journal, answer.
func TestSet(t *testing.T) {
	h := start(t)
	steps := h.Watch(t.Context())
	c := h.must(web, 10*sluice.Mbit)
	if c.Result != sluice.Done || !c.Verified || c.From != sluice.UnshapedBoth || c.To.Terms() != limited(10*sluice.Mbit) ||
		c.VM != "web" || c.VIF != 0 || c.Key != "web/0" || c.Device != "tap1" || c.By != "root" || c.TookNS <= 0 {
		t.Errorf("%+v", c)
	}
	var states []sluice.State
	for i, s := range c.States {
		states = append(states, s.State)
		if i > 0 && s.At.Before(c.States[i-1].At) {
			t.Errorf("step %d is before its predecessor", i)
		}
	}
	if !slices.Equal(states, []sluice.State{sluice.Connected, sluice.Reconfiguring, sluice.Connected}) {
		t.Errorf("its way was %v", states)
	}
	h.agree(web, limited(10*sluice.Mbit))
	if j, err := h.Change(t.Context(), c.ID); err != nil || j.Result != sluice.Done || j.TookNS != c.TookNS {
		t.Errorf("the journal says %+v, %v", j, err)
	}
	if a, b := <-steps, <-steps; a.Result != sluice.Pending || len(a.States) != 2 || b.Result != sluice.Done || len(b.States) != 3 {
		t.Errorf("who watches sees %+v, then %+v", a, b)
	}

	// One direction, one field: the rest stays.
	weight, ten := 300, sluice.Mbit
	if _, err := h.Set(t.Context(), control.Request{VM: "web", Rx: &control.Patch{Weight: &weight}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Set(t.Context(), control.Request{VM: "web", Tx: &control.Patch{Guarantee: &ten}}); err != nil {
		t.Fatal(err)
	}
	want := limited(10 * sluice.Mbit)
	want.Rx.Weight, want.Tx.Guarantee = 300, sluice.Mbit
	h.agree(web, want)
	// And the limit is lifted.
	h.must(web, sluice.Unlimited)
	want.Tx.Limit, want.Rx.Limit = sluice.Unlimited, sluice.Unlimited
	h.agree(web, want)
	h.agree(ftp, sluice.UnshapedBoth)
}

// Bad input gets a clear error, and neither the store, the journal nor the
// kernel is touched.
func TestBadInput(t *testing.T) {
	h := start(t)
	h.inventory.set(ftp, web, web1,
		sluice.VIF{VM: "twin", UUID: "00000000-aaaa", Device: "tap7"}, sluice.VIF{VM: "twin", UUID: "00000000-bbbb", Device: "tap8"})
	h.must(web, 10*sluice.Mbit)
	before, calls := h.node(web), len(h.kernel.called())

	patch := func(p control.Patch) control.Request { return control.Request{VM: "web", Tx: &p} }
	rate := func(r sluice.Rate) *sluice.Rate { return &r }
	number := func(n int) *int { return &n }
	old := uint64(1)
	for name, c := range map[string]struct {
		asks control.Request
		code sluice.Code
		says string
	}{
		"no such VM":               {limit(sluice.VIF{VM: "nobody"}, sluice.Mbit), sluice.NotFound, `there is no VM "nobody"; there are ftp, twin, web`},
		"a slip of the finger":     {limit(sluice.VIF{VM: "wep"}, sluice.Mbit), sluice.NotFound, "(try: web)"},
		"no VM":                    {limit(sluice.VIF{}, sluice.Mbit), sluice.NotFound, `there is no VM ""`},
		"an endless name":          {limit(sluice.VIF{VM: strings.Repeat("w", 1<<16)}, sluice.Mbit), sluice.NotFound, "www..."},
		"no such vif":              {limit(sluice.VIF{VM: "web", Index: 2}, sluice.Mbit), sluice.NotFound, "web has no vif 2; it has 0, 1"},
		"a negative vif":           {limit(sluice.VIF{VM: "web", Index: -1}, sluice.Mbit), sluice.NotFound, "web has no vif -1"},
		"a name of two VMs":        {limit(sluice.VIF{VM: "twin"}, sluice.Mbit), sluice.Refused, "00000000-aaaa, 00000000-bbbb"},
		"nothing":                  {control.Request{VM: "web"}, sluice.Invalid, "sets nothing"},
		"empty patches":            {control.Request{VM: "web", Tx: &control.Patch{}, Rx: &control.Patch{}}, sluice.Invalid, "sets nothing"},
		"limit 0":                  {limit(web, 0), sluice.Invalid, "would cut the VM off; web vif 0 keeps 10mbit"},
		"limit too low":            {limit(web, 7999), sluice.Invalid, "below 8kbit"},
		"limit above the link":     {limit(web, 101*sluice.Mbit), sluice.Refused, "above the link's 100mbit; web vif 0 keeps 10mbit (try: at most 100mbit, or unlimited)"},
		"guarantee over limit":     {patch(control.Patch{Guarantee: rate(11 * sluice.Mbit)}), sluice.Refused, "above the limit 10mbit"},
		"guarantee over the link":  {patch(control.Patch{Guarantee: rate(101 * sluice.Mbit), Limit: rate(sluice.Unlimited)}), sluice.Refused, "100mbit is free of the link's 100mbit"},
		"guarantee of all":         {patch(control.Patch{Guarantee: rate(sluice.Unlimited), Limit: rate(sluice.Unlimited)}), sluice.Refused, "at most 100mbit"},
		"weight 0":                 {patch(control.Patch{Weight: number(0)}), sluice.Invalid, "outside 1 to 10000"},
		"weight 10^9":              {patch(control.Patch{Weight: number(1e9)}), sluice.Invalid, "outside 1 to 10000"},
		"priority 7":               {patch(control.Patch{Priority: number(7)}), sluice.Invalid, "neither 0 nor 1"},
		"a revision of the past":   {control.Request{VM: "web", Tx: &control.Patch{Weight: number(7)}, Revision: &old}, sluice.Conflict, "was changed since you looked, by root to 10mbit at"},
		"a revision never written": {control.Request{VM: "ftp", Tx: &control.Patch{Weight: number(7)}, Revision: &old}, sluice.Conflict, "nobody has set it yet"},
	} {
		for _, dry := range []bool{true, false} {
			c.asks.DryRun = dry
			got, err := h.Set(t.Context(), c.asks)
			if sluice.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || got.ID != 0 {
				t.Errorf("%s: change %d, %.300v; want code %s and %q", name, got.ID, err, c.code, c.says)
			}
			if n := len(err.Error()); n > 1000 {
				t.Errorf("%s: %d bytes of error", name, n)
			}
		}
	}
	if n := h.node(web); n != before {
		t.Errorf("the store changed: %+v, then %+v", before, n)
	}
	if n := h.node(ftp); n.Revision != 0 {
		t.Errorf("ftp was written: %+v", n)
	}
	if all, err := h.Changes(t.Context(), 10); err != nil || len(all) != 1 {
		t.Errorf("the journal: %+v, %v", all, err)
	}
	for _, call := range h.kernel.called()[calls:] {
		if call != "apply tap1 10mbit" { // the start's, of what is in force
			t.Errorf("the driver was asked to %s", call)
		}
	}
}

func TestDryRun(t *testing.T) {
	h := start(t)
	r := limit(web, 10*sluice.Mbit)
	r.DryRun = true
	c, err := h.Set(t.Context(), r)
	if err != nil || c.ID != 0 || c.Result != sluice.Pending || c.From != sluice.UnshapedBoth || c.To.Terms() != limited(10*sluice.Mbit) {
		t.Errorf("%+v, %v", c, err)
	}
	h.agree(web, sluice.UnshapedBoth)
	if calls := h.kernel.called(); len(calls) > 0 {
		t.Errorf("the driver was asked %q", calls)
	}
}

// While one changes a vif, another who wants to is told who does.
func TestTwoAtOnce(t *testing.T) {
	h := start(t)
	reached, goOn := make(chan struct{}), make(chan struct{})
	h.kernel.interfere(func(context.Context, sluice.VIF, sluice.Allocations) error {
		close(reached)
		<-goOn
		return nil
	})
	first := make(chan error)
	go func() {
		_, err := h.Set(context.Background(), limit(web, 10*sluice.Mbit))
		first <- err
	}()
	<-reached
	h.kernel.interfere(nil)
	_, err := h.Set(t.Context(), limit(web, 20*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.Conflict || !strings.Contains(err.Error(), "web vif 0 is just being changed by root to 10mbit") {
		t.Errorf("the second is told: %v", err)
	}
	dry := limit(web, 20*sluice.Mbit)
	dry.DryRun = true
	if c := h.ask(dry); c.To.Tx.Limit != 20*sluice.Mbit || c.From.Tx.Limit != 10*sluice.Mbit {
		t.Errorf("a dry run meanwhile: from %s to %s", c.From, c.To)
	}
	neighbour := make(chan error)
	go func() {
		_, err := h.Set(context.Background(), limit(ftp, 30*sluice.Mbit))
		neighbour <- err
	}()
	h.eventually("a neighbour's has begun", func() bool { return h.node(ftp).State == sluice.Reconfiguring })
	close(goOn)
	if err := errors.Join(<-first, <-neighbour); err != nil {
		t.Error(err)
	}
	h.agree(web, limited(10*sluice.Mbit))

	// A crowd: as many are done as the journal says, and all else conflicts.
	var crowd sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 16 {
		crowd.Go(func() {
			_, err := h.Set(context.Background(), limit(web, sluice.Rate(i+1)*sluice.Mbit))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			} else if sluice.CodeOf(err) != sluice.Conflict {
				t.Error(err)
			}
		})
	}
	crowd.Wait()
	all, err := h.Changes(t.Context(), 100)
	if err != nil || done == 0 || len(all) != done+2 {
		t.Errorf("%d done, %d journalled, %v", done, len(all), err)
	}
	h.agree(web, all[0].To.Terms())
}

func TestDriverFails(t *testing.T) {
	h := start(t)
	h.must(web, 10*sluice.Mbit)
	h.kernel.interfere(func(_ context.Context, _ sluice.VIF, want sluice.Allocations) error {
		if want.Tx.Limit == 20*sluice.Mbit {
			return &sluice.Error{Code: sluice.NotApplied, Message: "the kernel says EBUSY", Unchanged: "noise"}
		}
		return nil
	})
	for _, v := range []sluice.VIF{web, ftp} {
		before := h.node(v).Value.Terms()
		c, err := h.Set(t.Context(), limit(v, 20*sluice.Mbit))
		if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(err.Error(), "was undone: the kernel says EBUSY; "+v.String()+" keeps "+before.String()) {
			t.Errorf("told: %v", err)
		}
		if c.Result != sluice.Undone || c.Verified || c.Error != "the kernel says EBUSY" {
			t.Errorf("%+v", c)
		}
		h.agree(v, before)
	}
	if _, ok := h.kernel.has(ftp.Device); ok {
		t.Error("something was left on a device that was never shaped")
	}
	h.must(web, 30*sluice.Mbit) // it is not stuck
}

// A driver that neither applies nor takes back: the journal says so, and the
// driver layer tries until kernel and store agree.
func TestDriverFailsAndCannotRestore(t *testing.T) {
	h := start(t)
	h.must(web, 10*sluice.Mbit)
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		h.kernel.mu.Lock()
		h.kernel.enforced[v.Device] = limited(13) // half of it
		h.kernel.mu.Unlock()
		return errors.New("broken")
	})
	c, err := h.Set(t.Context(), limit(web, 20*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(c.Error, "the kernel does not confirm the old value: broken") {
		t.Errorf("%+v, %v", c, err)
	}
	h.kernel.interfere(nil)
	h.eventually("the old value is back", func() bool {
		a, _ := h.kernel.has(web.Device)
		return a == limited(10*sluice.Mbit)
	})
	h.agree(web, limited(10*sluice.Mbit))
}

// A driver that hangs but heeds its deadline: undone.
func TestDriverHangs(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.ApplyWithin = 50 * time.Millisecond }).run()
	h.must(web, 10*sluice.Mbit)
	h.kernel.interfere(func(ctx context.Context, _ sluice.VIF, want sluice.Allocations) error {
		if want.Tx.Limit == 20*sluice.Mbit {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	_, err := h.Set(t.Context(), limit(web, 20*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Error(err)
	}
	h.agree(web, limited(10*sluice.Mbit))
}

// A driver that hangs for good: the asker is told that it is not known, and
// the change is finished when the driver comes back.
func TestDriverHangsForGood(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.AnswerWithin = 100 * time.Millisecond }).run()
	goOn := make(chan struct{})
	h.kernel.interfere(func(context.Context, sluice.VIF, sluice.Allocations) error { <-goOn; return nil })
	c, err := h.Set(t.Context(), limit(web, 20*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.Unavailable || c.ID == 0 || c.Result != sluice.Pending || !strings.Contains(err.Error(), "look for change 1 in sluice changes") {
		t.Errorf("%+v, %v", c, err)
	}
	h.kernel.interfere(nil)
	if _, err := h.Set(t.Context(), limit(ftp, 10*sluice.Mbit)); sluice.CodeOf(err) != sluice.Unavailable { // the driver is one
		t.Errorf("another, meanwhile: %v", err)
	}
	close(goOn)
	h.eventually("both are finished", func() bool {
		return h.node(web).State == sluice.Connected && h.node(ftp).State == sluice.Connected
	})
	h.agree(web, limited(20*sluice.Mbit))
	h.agree(ftp, limited(10*sluice.Mbit))
}

// A VM that vanishes in the middle: undone, and its asker is told.
func TestVanishes(t *testing.T) {
	h := start(t)
	h.must(web, 10*sluice.Mbit)
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		if want == limited(10*sluice.Mbit) {
			return nil // the start's
		}
		h.inventory.set(ftp)
		return &sluice.Error{Code: sluice.NotFound, Message: "tap1 vanished with its VM"}
	})
	_, err := h.Set(t.Context(), limit(web, 20*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(err.Error(), "tap1 vanished with its VM; web vif 0 keeps 10mbit") {
		t.Error(err)
	}
	h.kernel.interfere(nil)
	h.eventually("its device is released", func() bool { _, ok := h.kernel.has(web.Device); return !ok })
	if n := h.node(web); n.Value.Terms() != limited(10*sluice.Mbit) || n.State != sluice.Connected {
		t.Errorf("%+v", n)
	}
	// It comes back on another device, with what was set.
	back := web
	back.Device = "tap9"
	h.inventory.set(ftp, back)
	h.eventually("the settings are applied", func() bool { _, ok := h.kernel.has("tap9"); return ok })
	h.agree(back, limited(10*sluice.Mbit))
}

// A VM that vanishes between the look-up and the driver layer.
func TestVanishesBeforeItIsApplied(t *testing.T) {
	var h *host
	h = newHost(t, t.TempDir(), func(o *control.Options) {
		o.Fault = func(point string) {
			if point == "before-begin" {
				h.inventory.set(ftp)
			}
		}
	}).run()
	_, err := h.Set(t.Context(), limit(web, 20*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(err.Error(), "web vif 0 has vanished") {
		t.Error(err)
	}
	if n := h.node(web); n.Value.Terms() != sluice.UnshapedBoth || n.State != sluice.Connected {
		t.Errorf("%+v", n)
	}
}

func TestUndo(t *testing.T) {
	h := start(t)
	_ = h.must(web, 10*sluice.Mbit)
	b := h.must(web, 20*sluice.Mbit)
	u, err := h.Undo(t.Context(), b.ID, "root")
	if err != nil || u.Undoes != b.ID || u.From != b.To || u.To != b.From {
		t.Errorf("%+v, %v", u, err)
	}
	h.agree(web, limited(10*sluice.Mbit))

	// What is not so any more is not taken back.
	if _, err := h.Undo(t.Context(), b.ID, "root"); sluice.CodeOf(err) != sluice.Conflict || !strings.Contains(err.Error(), "was set anew since change 2") {
		t.Errorf("undone twice: %v", err)
	}
	// A change of another direction is no obstacle.
	five := 5 * sluice.Mbit
	if _, err := h.Set(t.Context(), control.Request{VM: "web", Rx: &control.Patch{Limit: &five}}); err != nil {
		t.Fatal(err)
	}
	tx, err := h.Set(t.Context(), control.Request{VM: "web", Tx: &control.Patch{Limit: &five}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Set(t.Context(), control.Request{VM: "web", Rx: &control.Patch{Weight: new(7)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Undo(t.Context(), tx.ID, "root"); err != nil {
		t.Error(err)
	}
	if n := h.node(web); n.Value.Tx != limited(10*sluice.Mbit).Tx || n.Value.Rx.Limit != five || n.Value.Rx.Weight != 7 {
		t.Errorf("%+v", n)
	}

	if _, err := h.Undo(t.Context(), 999, "root"); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("no such change: %v", err)
	}
	h.inventory.set(ftp)
	kept, err := h.Set(t.Context(), limit(web, five))
	if err != nil || kept.Verified || kept.Result != sluice.Done {
		t.Errorf("set while it is absent: %+v, %v", kept, err)
	}
	if back, err := h.Undo(t.Context(), kept.ID, "root"); err != nil || back.Verified || h.node(web).Value != kept.From {
		t.Errorf("undone while it is absent: %+v, %v", back, err)
	}
	h.kernel.interfere(func(context.Context, sluice.VIF, sluice.Allocations) error { return errors.New("broken") })
	failed, _ := h.Set(t.Context(), limit(ftp, five))
	if _, err := h.Undo(t.Context(), failed.ID, "root"); sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "is undone") {
		t.Errorf("a change that was not done: %v", err)
	}
}

// A change whose asker did not wait is finished all the same.
func TestAskerLeaves(t *testing.T) {
	h := start(t)
	ctx, leave := context.WithCancel(t.Context())
	h.kernel.interfere(func(context.Context, sluice.VIF, sluice.Allocations) error { leave(); return nil })
	_, _ = h.Set(ctx, limit(web, 10*sluice.Mbit))
	h.eventually("it is finished", func() bool { n := h.node(web); return n.State == sluice.Connected && n.Revision != 0 })
	h.agree(web, limited(10*sluice.Mbit))
}

// forgetful loses the store's answers.
type forgetful struct{ control.Store }

func (f forgetful) Begin(ctx context.Context, c *sluice.Change, seen control.Node) error {
	if err := f.Store.Begin(ctx, c, seen); err != nil {
		return err
	}
	return &sluice.Error{Code: sluice.Unavailable, Message: "the answer was lost"}
}

// An asker is never told "nothing was changed" where something may have been.
func TestAnswerLost(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Store = forgetful{o.Store} }).run()
	c, err := h.Set(t.Context(), limit(web, 10*sluice.Mbit))
	if sluice.CodeOf(err) != sluice.Unavailable || c.ID == 0 || !strings.Contains(err.Error(), "is not known yet") {
		t.Errorf("%+v, %v", c, err)
	}
	h.eventually("it is finished", func() bool { n := h.node(web); return n.State == sluice.Connected && n.Revision != 0 })
}
