package control_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice"
	"sluice/control"
	"sluice/etcd"
)

// What was set is applied again at the next start, and what nobody set is
// left alone.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	h := newHost(t, dir, nil).run()
	h.must(web, 10*sluice.Mbit)
	h.stop()
	h.store.Close()

	h = newHost(t, dir, nil).run()
	h.eventually("applied", func() bool { _, ok := h.kernel.has(web.Device); return ok })
	h.agree(web, limited(10*sluice.Mbit))
	if calls := h.kernel.called(); !slices.Equal(calls, []string{"apply tap1 10mbit"}) {
		t.Errorf("the driver was asked %q", calls)
	}
}

// The driver layer wakes on Reconfiguring whoever wrote it, also while it was away.
func TestAnotherWriter(t *testing.T) {
	h := newHost(t, t.TempDir(), nil)
	write := func(v sluice.VIF, to sluice.Allocations) sluice.Change {
		seen := h.node(v)
		c := sluice.Change{VM: v.VM, VIF: v.Index, Key: v.Key(), By: "another", At: time.Now().UTC(), From: seen.Value, To: to, Result: sluice.Pending}
		if err := h.store.Begin(t.Context(), &c, seen); err != nil {
			t.Fatal(err)
		}
		return c
	}
	away := write(web, limited(10*sluice.Mbit))
	h.run()
	h.eventually("finished", func() bool { return h.node(web).State == sluice.Connected })
	h.agree(web, limited(10*sluice.Mbit))
	if c, err := h.Change(t.Context(), away.ID); err != nil || c.Result != sluice.Done || !c.Verified {
		t.Errorf("%+v, %v", c, err)
	}
	write(ftp, limited(20*sluice.Mbit))
	h.eventually("finished", func() bool { return h.node(ftp).State == sluice.Connected })
	h.agree(ftp, limited(20*sluice.Mbit))
}

// Devices come, go and are used again by others: settings follow the VM.
func TestDevicesComeAndGo(t *testing.T) {
	h := start(t)
	h.must(web, 10*sluice.Mbit)
	// The VM moves to another tap, and a stranger gets its old one.
	moved, stranger := web, sluice.VIF{VM: "new", Device: web.Device}
	moved.Device = "tap9"
	h.inventory.set(ftp, stranger, moved)
	h.eventually("it has moved", func() bool {
		_, old := h.kernel.has("tap1")
		at, ok := h.kernel.has("tap9")
		return ok && !old && at == limited(10*sluice.Mbit)
	})
	// A VM with settings takes over the device of another that has some, too.
	h.must(stranger, 20*sluice.Mbit)
	h.inventory.set(ftp, sluice.VIF{VM: "web", Device: "tap1"})
	h.eventually("it has moved back", func() bool {
		at, ok := h.kernel.has("tap1")
		_, left := h.kernel.has("tap9")
		return ok && !left && at == limited(10*sluice.Mbit)
	})
	if n := h.node(stranger); n.Value.Terms() != limited(20*sluice.Mbit) {
		t.Errorf("the absent one's settings are %s", n.Value)
	}
}

// A device that is replaced under its name is shaped again.
func TestDeviceReplaced(t *testing.T) {
	h := start(t)
	h.must(web, 10*sluice.Mbit)
	h.kernel.mu.Lock()
	delete(h.kernel.enforced, web.Device)
	h.kernel.mu.Unlock()
	h.inventory.set(ftp, web, web1) // the same list: only the event tells
	h.eventually("applied again", func() bool { _, ok := h.kernel.has(web.Device); return ok })
}

// A vif whose driver fails is tried again, later and later, and harms no other.
func TestRetries(t *testing.T) {
	dir := t.TempDir()
	h := newHost(t, dir, nil).run()
	h.must(web, 10*sluice.Mbit)
	h.stop()
	h.store.Close()

	h = newHost(t, dir, nil)
	var tries atomic.Int32
	h.kernel.interfere(func(context.Context, sluice.VIF, sluice.Allocations) error {
		if tries.Add(1) < 3 {
			return errors.New("busy")
		}
		return nil
	})
	h.run()
	h.eventually("applied at the third try", func() bool { _, ok := h.kernel.has(web.Device); return ok })
	h.agree(web, limited(10*sluice.Mbit))
}

// Told to stop, the daemon finishes the change at hand; and says so when its store ends.
func TestStop(t *testing.T) {
	h := newHost(t, t.TempDir(), nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Control.Run(ctx) }()
	h.kernel.interfere(func(context.Context, sluice.VIF, sluice.Allocations) error {
		stop()
		time.Sleep(50 * time.Millisecond)
		return nil
	})
	_, _ = h.Set(t.Context(), limit(web, 10*sluice.Mbit))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	h.agree(web, limited(10*sluice.Mbit))

	before := h.kernel.sets.Load()
	go func() { ended <- h.Control.Run(t.Context()) }()
	h.eventually("it runs", func() bool { return h.kernel.sets.Load() > before })
	h.store.Close()
	if err := <-ended; sluice.CodeOf(err) != sluice.Unavailable || !strings.Contains(err.Error(), "the store has ended") {
		t.Error(err)
	}
}

// A driver layer that is told to stop before it began has not failed.
func TestStoppedBefore(t *testing.T) {
	h := newHost(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Control.Run(ctx); err != nil {
		t.Error(err)
	}
}

// A vif whose record somebody damaged does not stop the others.
func TestDamagedRecord(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Store = damaged{o.Store.(*etcd.Store)} }).run()
	if _, err := h.Set(t.Context(), limit(ftp, sluice.Mbit)); sluice.CodeOf(err) != sluice.Internal {
		t.Errorf("damaged: %v", err)
	}
	h.must(web, 10*sluice.Mbit)
	h.agree(web, limited(10*sluice.Mbit))
}

// damaged cannot read ftp's record.
type damaged struct{ *etcd.Store }

func (d damaged) Get(ctx context.Context, key string) (control.Node, error) {
	if key == ftp.Key() {
		return control.Node{}, &sluice.Error{Code: sluice.Internal, Message: "the record of " + key + " cannot be read"}
	}
	return d.Store.Get(ctx, key)
}

// As soon as one vif has a guarantee, all share the link; when the last has
// none any more, those that nobody set are let go.
func TestSharing(t *testing.T) {
	h := start(t)
	in := func(v sluice.VIF) bool { _, ok := h.kernel.has(v.Device); return ok }
	h.must(ftp, 10*sluice.Mbit)
	h.must(ftp, 20*sluice.Mbit)
	if in(web) || in(web1) {
		t.Error("a limit alone put others into the tree")
	}
	h.ask(guarantee(ftp, sluice.Mbit, 0))
	h.eventually("all are in", func() bool { return in(web) && in(web1) })
	h.agree(web, sluice.UnshapedBoth)
	// Also one that comes later.
	late := sluice.VIF{VM: "late", Device: "tap9"}
	h.inventory.set(ftp, web, late)
	h.eventually("the late one is in, who went is out", func() bool { return in(late) && !in(web1) })
	// One whose first change fails stays in.
	h.kernel.interfere(func(_ context.Context, _ sluice.VIF, want sluice.Allocations) error {
		if want.Tx.Limit == 50*sluice.Mbit {
			return errors.New("no")
		}
		return nil
	})
	if _, err := h.Set(t.Context(), limit(late, 50*sluice.Mbit)); sluice.CodeOf(err) != sluice.NotApplied || !in(late) {
		t.Errorf("%v, in: %v", err, in(late))
	}
	h.ask(guarantee(ftp, 0, 0))
	h.eventually("the unset are out", func() bool { return !in(web) })
	if !in(ftp) {
		t.Error("and the one that is set, too")
	}
}
