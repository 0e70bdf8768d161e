package xen_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/control"
	"sluice/etcd"
	"sluice/xen"
	"sluice/xen/xenstore"
	"sluice/xen/xenstore/xenstoretest"
)

const (
	uuid    = "5103e000-0000-4000-8000-000000000001"
	mac     = "00:16:3e:07:01:00"
	backend = "/local/domain/0/backend/vif/3/0"
)

// kernel is a driver that notes what it would enforce. The real one needs
// Xen: e2e/xen.
type kernel struct {
	mu   sync.Mutex
	want map[string]sluice.Allocations
}

func (k *kernel) Set(_ context.Context, want sluice.Effective) (map[string]error, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.want)
	for _, b := range want.VIFs {
		k.want[b.VIF.Device] = b.Want
	}
	return nil, nil
}

func (k *kernel) get(device string) sluice.Allocations {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.want[device]
}

// host is a running daemon on a xenstored with one guest.
type host struct {
	*control.Control
	xs        *xenstore.Client
	inventory *xen.Inventory
	kernel    *kernel
}

func newHost(t *testing.T, prepare ...string) *host {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	xs, err := xenstore.Dial(ctx, xenstoretest.Start(t).Socket)
	check(t, err)
	h := &host{xs: xs, kernel: &kernel{want: map[string]sluice.Allocations{}}}
	h.boot(t, 3, "web")
	for i := 0; i+1 < len(prepare); i += 2 {
		check(t, xs.WriteString(ctx, prepare[i], prepare[i+1]))
	}
	log := slog.New(slog.DiscardHandler)
	h.inventory, err = xen.Open(ctx, xs, log)
	check(t, err)
	journal, err := etcd.Open(ctx, t.TempDir(), log)
	check(t, err)
	h.Control = control.New(control.Options{Inventory: h.inventory, Driver: h.kernel, Log: log,
		Store: &xen.Store{Journal: journal, Xenstore: xs, Inventory: h.inventory, Log: log}})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = h.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; journal.Close(); xs.Close() })
	return h
}

// boot writes what xl and the guest write.
func (h *host) boot(t *testing.T, domain int, name string) {
	t.Helper()
	home, back, front := fmt.Sprintf("/local/domain/%d", domain), fmt.Sprintf("/local/domain/0/backend/vif/%d/0", domain), fmt.Sprintf("/local/domain/%d/device/vif/0", domain)
	for path, value := range map[string]string{
		home + "/name": name, home + "/vm": "/vm/" + uuid, "/vm/" + uuid + "/name": name,
		back + "/mac": strings.ToUpper(mac), back + "/bridge": "xenbr0", back + "/frontend": front, back + "/rate": "62500,50000",
		front + "/state": "4", front + "/multi-queue-num-queues": "2", back + "/state": "4",
	} {
		check(t, h.xs.WriteString(context.Background(), path, value))
	}
}

func (h *host) read(t *testing.T, path string) string {
	t.Helper()
	s, err := h.xs.ReadString(context.Background(), path)
	check(t, err)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func patch(rate sluice.Rate) *control.Patch { return &control.Patch{Limit: &rate} }

func TestSetGoesThroughXenstore(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	states, err := h.xs.Watch(ctx, backend+"/state")
	check(t, err)
	<-states
	c, err := h.Set(ctx, control.Request{VM: "web", Tx: patch(20 * sluice.Mbit), By: "test"})
	check(t, err)
	if c.From.Tx.Limit != 10*sluice.Mbit || c.Key != uuid+"/"+mac || c.Device != "vif3.0" {
		t.Errorf("the change is %+v; xl had given 10mbit", c)
	}
	<-states // it was written at all
	for path, want := range map[string]string{"/state": "4", "/sluice/tx/limit": "20mbit", "/sluice/rx/limit": "unlimited", "/sluice/tx/weight": "100"} {
		if got := h.read(t, backend+path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := h.kernel.get("vif3.0").Tx.Limit; got != 20*sluice.Mbit {
		t.Errorf("the driver was told %s", got)
	}
}

func TestNotConnected(t *testing.T) {
	h := newHost(t)
	check(t, h.xs.WriteString(context.Background(), backend+"/state", "5"))
	_, err := h.Set(context.Background(), control.Request{VM: "web", Tx: patch(20 * sluice.Mbit)})
	if code := sluice.CodeOf(err); code != sluice.Refused && code != sluice.NotFound {
		t.Errorf("setting a vif that is closing: %v", err)
	}
	if _, err := h.xs.Read(context.Background(), backend+"/sluice"); err == nil {
		t.Error("something was written")
	}
}

func TestByHand(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	write := func(limit string) {
		t.Helper()
		check(t, h.xs.WriteString(ctx, backend+"/sluice/tx/limit", limit))
		check(t, h.xs.WriteString(ctx, backend+"/state", "7"))
		eventually(t, "Connected", func() bool { return h.read(t, backend+"/state") == "4" })
	}
	last := func(want sluice.Result) bool {
		changes, err := h.Changes(ctx, 1)
		return err == nil && len(changes) == 1 && changes[0].By == xen.By && changes[0].Result == want
	}
	write("12mbit")
	eventually(t, "done in the journal", func() bool { return last(sluice.Done) })
	write("12mbps")
	eventually(t, "undone in the journal", func() bool { return last(sluice.Undone) })
	if got := h.read(t, backend+"/sluice/tx/limit"); got != "12mbit" || h.kernel.get("vif3.0").Tx.Limit != 12*sluice.Mbit {
		t.Errorf("after a senseless value: %s in xenstore, %s in the kernel", got, h.kernel.get("vif3.0"))
	}
}

func TestLeftReconfiguring(t *testing.T) {
	h := newHost(t, backend+"/sluice/tx/limit", "30mbit", backend+"/state", "7")
	eventually(t, "what was left is finished", func() bool {
		return h.read(t, backend+"/state") == "4" && h.kernel.get("vif3.0").Tx.Limit == 30*sluice.Mbit
	})
}

func TestSettingsFollowTheVM(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	_, err := h.Set(ctx, control.Request{VM: "web", Tx: patch(20 * sluice.Mbit), Rx: patch(30 * sluice.Mbit)})
	check(t, err)
	check(t, h.xs.Remove(ctx, "/local/domain/0/backend/vif/3"))
	check(t, h.xs.Remove(ctx, "/local/domain/3"))
	eventually(t, "no vif", func() bool { return len(h.inventory.VIFs()) == 0 })
	eventually(t, "released", func() bool { return h.kernel.get("vif3.0") == sluice.Allocations{} })
	h.boot(t, 4, "renamed")
	eventually(t, "its settings on the new device", func() bool {
		limit, err := h.xs.ReadString(ctx, "/local/domain/0/backend/vif/4/0/sluice/rx/limit")
		return err == nil && limit == "30mbit" && h.kernel.get("vif4.0").Tx.Limit == 20*sluice.Mbit
	})
	if v := h.inventory.VIFs()[0]; v.VM != "renamed" || v.Device != "vif4.0" || h.inventory.Interfaces()[0].Queues != 2 {
		t.Errorf("the inventory says %+v", v)
	}
}

func TestXLsLimitIsShown(t *testing.T) {
	h := newHost(t)
	eventually(t, "xl's 10mbit", func() bool { return h.Settings()[uuid+"/"+mac].Value.Tx.Limit == 10*sluice.Mbit })
	if h.kernel.get("vif3.0") != (sluice.Allocations{}) {
		t.Error("it was applied, though nobody set it")
	}
}

func TestHostileFrontend(t *testing.T) {
	h := newHost(t, "/local/domain/3/device/vif/0/multi-queue-num-queues", "99999999", "/local/domain/3/device/vif/0/state", strings.Repeat("x", 2000))
	if q := h.inventory.Interfaces()[0].Queues; q < 1 || q > 64 {
		t.Errorf("%d queues", q)
	}
}
