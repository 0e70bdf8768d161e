package control_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/control"
	"sluice/etcd"
)

// host is a Control over a real store, with an inventory and a driver that a
// test can make fail.
type host struct {
	*testing.T
	*control.Control
	store *etcd.Store

	mu      sync.Mutex
	vifs    []sluice.VIF
	kernel  map[string]sluice.Allocations // by device
	refuse  error                         // what Apply answers to limits other than before
	hold    chan struct{}                 // if set, Apply waits for it
	changed chan struct{}
}

var web = sluice.VIF{VM: "web", Device: "tap0"}

func newHost(t *testing.T) *host {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := etcd.Open(t.Context(), t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{T: t, store: store, vifs: []sluice.VIF{web, {VM: "ftp", Device: "tap1"}},
		kernel: make(map[string]sluice.Allocations), changed: make(chan struct{}, 1)}
	h.Control = control.New(control.Options{Inventory: h, Driver: h, Store: store, Log: log,
		Capacity: func() sluice.Capacity { return sluice.Capacity{Tx: 1e9, Rx: 1e9} }})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Control.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return h
}

// VIFs implements control.Inventory.
func (h *host) VIFs() []sluice.VIF {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]sluice.VIF(nil), h.vifs...)
}

// Watch implements control.Inventory.
func (h *host) Watch(context.Context) <-chan struct{} { return h.changed }

// Apply implements control.Driver.
func (h *host) Apply(ctx context.Context, v sluice.VIF, want sluice.Allocations) error {
	h.mu.Lock()
	hold := h.hold
	h.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil && h.kernel[v.Device] != want {
		return h.refuse
	}
	h.kernel[v.Device] = want
	return nil
}

// Release implements control.Driver.
func (h *host) Release(_ context.Context, v sluice.VIF) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kernel, v.Device)
	return nil
}

func (h *host) holds(device string) sluice.Rate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kernel[device].Tx.Limit
}

func limit(r sluice.Rate) control.Request {
	p := &control.Patch{Limit: &r}
	return control.Request{VM: "web", Tx: p, Rx: p, By: "test"}
}

func (h *host) must(r control.Request) sluice.Change {
	h.Helper()
	c, err := h.Set(h.Context(), r)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

func (h *host) refused(err error, code sluice.Code, says string) {
	h.Helper()
	if sluice.CodeOf(err) != code || !strings.Contains(err.Error(), says) {
		h.Errorf("got %v, want code %s and %q", err, code, says)
	}
}

// TestDriverRefuses shows that a change the kernel does not take is undone
// everywhere, and that its asker is told why.
func TestDriverRefuses(t *testing.T) {
	h := newHost(t)
	h.must(limit(1e6))
	h.refuse = errors.New("no such qdisc")
	c, err := h.Set(t.Context(), limit(2e6))
	h.refused(err, sluice.NotApplied, "no such qdisc")
	if c.Result != sluice.Undone || c.Verified {
		t.Errorf("the change: %+v", c)
	}
	if n, _ := h.store.Get(t.Context(), web.Key()); n.Value.Tx.Limit != 1e6 || n.State != sluice.Connected || h.holds("tap0") != 1e6 {
		t.Errorf("the store holds %v, the kernel %s", n, h.holds("tap0"))
	}
}

// TestTwoAtOnce shows that the second of two people is told who was first.
func TestTwoAtOnce(t *testing.T) {
	h := newHost(t)
	first := h.must(limit(1e6))
	h.mu.Lock()
	h.hold = make(chan struct{})
	h.mu.Unlock()
	done := make(chan error, 1)
	go func() { _, err := h.Set(context.Background(), limit(2e6)); done <- err }()
	for {
		if n, _ := h.store.Get(t.Context(), web.Key()); n.State == sluice.Reconfiguring {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, err := h.Set(t.Context(), limit(3e6))
	h.refused(err, sluice.Conflict, "just being changed by test")
	close(h.hold)
	if err := <-done; err != nil {
		t.Error(err)
	}
	stale := limit(4e6)
	old := uint64(1)
	stale.Revision = &old
	_, err = h.Set(t.Context(), stale)
	h.refused(err, sluice.Conflict, "changed since you looked")
	_, err = h.Undo(t.Context(), first.ID, "test")
	h.refused(err, sluice.Conflict, "set anew since")
	if h.holds("tap0") != 2e6 {
		t.Errorf("the kernel holds %s", h.holds("tap0"))
	}
}

// TestVMVanishes shows a VM that dies in the middle of its change, and its
// settings, which come back with it on another device.
func TestVMVanishes(t *testing.T) {
	h := newHost(t)
	h.must(limit(1e6))
	h.mu.Lock()
	h.vifs, h.kernel["tap0"] = h.vifs[1:], sluice.UnshapedBoth
	h.mu.Unlock()
	_, err := h.Set(t.Context(), limit(2e6))
	h.refused(err, sluice.NotFound, `no VM "web"`)
	h.mu.Lock()
	h.vifs = append(h.vifs, sluice.VIF{VM: "web", Device: "tap9"})
	h.mu.Unlock()
	h.changed <- struct{}{}
	for end := time.Now().Add(10 * time.Second); h.holds("tap9") != 1e6; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the new device has %s", h.holds("tap9"))
		}
	}
}

// TestUndoAndDryRun shows that only the directions a change touched go back.
func TestUndoAndDryRun(t *testing.T) {
	h := newHost(t)
	first := h.must(limit(1e6))
	dry := limit(5e6)
	dry.DryRun = true
	if c := h.must(dry); c.ID != 0 || h.holds("tap0") != 1e6 {
		t.Errorf("a dry run made change %d", c.ID)
	}
	only := limit(7e6)
	only.Tx = nil
	second := h.must(only)
	if c, err := h.Undo(t.Context(), second.ID, "test"); err != nil || c.To.Rx.Limit != 1e6 || c.Undoes != second.ID {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := h.Undo(t.Context(), first.ID, "test"); err != nil || c.To != sluice.UnshapedBoth {
		t.Errorf("%+v, %v", c, err)
	}
	_, err := h.Undo(t.Context(), 99, "test")
	h.refused(err, sluice.NotFound, "99")
	_, err = h.Set(t.Context(), limit(2e9))
	h.refused(err, sluice.Refused, "above the link")
}
