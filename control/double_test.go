package control_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice"
	"sluice/control"
	"sluice/etcd"
)

// kernel is a driver that only remembers, for what the real one cannot be
// made to do: fail, hang, or be overtaken at a chosen moment. The real one is
// in crash_test.go.
type kernel struct {
	sets     atomic.Int32 // how often it was asked
	mu       sync.Mutex
	enforced map[string]sluice.Allocations // by device
	bound    map[string]sluice.VIF         // whose each device is
	calls    []string
	before   func(ctx context.Context, v sluice.VIF, want sluice.Allocations) error // may fail, or take its time
}

// Set implements [control.Driver], a vif at a time: what it does to each is
// in calls.
func (k *kernel) Set(ctx context.Context, want sluice.Effective) (failed map[string]error, err error) {
	k.sets.Add(1)
	failed = make(map[string]error)
	devices := make(map[string]sluice.Bound)
	for key, b := range want.VIFs {
		devices[b.VIF.Device] = b
		k.mu.Lock()
		before := k.before
		now, there := k.enforced[b.VIF.Device]
		same := there && now == b.Want
		if !same {
			k.calls = append(k.calls, "apply "+b.VIF.Device+" "+b.Want.String())
		}
		k.mu.Unlock()
		if same {
			continue
		}
		if before != nil {
			if err := before(ctx, b.VIF, b.Want); err != nil {
				failed[key] = err
				continue
			}
		}
		k.mu.Lock()
		k.enforced[b.VIF.Device] = b.Want
		k.mu.Unlock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, g := range want.Groups {
		if k.enforced["@"+name] != g {
			k.calls = append(k.calls, "apply @"+name+" "+g.String())
			k.enforced["@"+name] = g
		}
	}
	for device := range k.enforced {
		name, group := sluice.GroupOf(device)
		if _, there := devices[device]; there {
			continue
		}
		if _, wanted := want.Groups[name]; group && wanted {
			continue
		}
		if old, before := k.bound[device], k.before; before != nil && !group {
			k.mu.Unlock()
			err := before(ctx, old, sluice.UnshapedBoth)
			k.mu.Lock()
			if err != nil {
				failed[old.Key()] = err
				continue
			}
		}
		k.calls = append(k.calls, "release "+device)
		delete(k.enforced, device)
	}
	for device, b := range devices {
		k.bound[device] = b.VIF
	}
	return failed, nil
}

func (k *kernel) has(device string) (sluice.Allocations, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.enforced[device]
	return a, ok
}

func (k *kernel) called() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.calls)
}

func (k *kernel) interfere(f func(context.Context, sluice.VIF, sluice.Allocations) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before = f
}

// inventory is a list that a test changes.
type inventory struct {
	mu       sync.Mutex
	vifs     []sluice.VIF
	watchers []chan struct{}
}

func (i *inventory) VIFs() []sluice.VIF {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.vifs)
}

func (i *inventory) Watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watchers = append(i.watchers, ch)
	return ch
}

func (i *inventory) set(vifs ...sluice.VIF) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.vifs = vifs
	for _, ch := range i.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

var (
	ftp  = sluice.VIF{ID: "ftp/0", VM: "ftp", Device: "tap0"}
	web  = sluice.VIF{ID: "web/0", VM: "web", Device: "tap1"}
	web1 = sluice.VIF{ID: "web/1", VM: "web", Index: 1, Device: "tap2"}
)

// host is a host with three vifs, a link of 100 Mbit/s and a real store.
type host struct {
	*testing.T
	*control.Control
	kernel    *kernel
	inventory *inventory
	store     *etcd.Store
	stop      func() // ends the driver layer and waits for it
}

// newHost makes a host in dir; change may change the options.
func newHost(t *testing.T, dir string, change func(*control.Options)) *host {
	t.Helper()
	store, err := etcd.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{T: t, store: store, kernel: &kernel{enforced: make(map[string]sluice.Allocations), bound: make(map[string]sluice.VIF)}, inventory: &inventory{vifs: []sluice.VIF{ftp, web, web1}}}
	o := control.Options{Inventory: h.inventory, Driver: h.kernel, Store: store, Log: slog.New(slog.DiscardHandler),
		Capacity: func() sluice.Capacity { return sluice.Capacity{Tx: 100 * sluice.Mbit, Rx: 100 * sluice.Mbit} }}
	if change != nil {
		change(&o)
	}
	h.Control = control.New(o)
	h.stop = func() {}
	t.Cleanup(func() {
		h.stop()
		store.Close()
	})
	return h
}

// run starts the driver layer.
func (h *host) run() *host {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Control.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			h.Error(err)
		}
		h.stop = func() {}
	}
	return h
}

func start(t *testing.T) *host {
	t.Helper()
	return newHost(t, t.TempDir(), nil).run()
}

// limit asks for one limit in both directions.
func limit(v sluice.VIF, r sluice.Rate) control.Request {
	return control.Request{VM: v.VM, VIF: v.Index, Tx: &control.Patch{Limit: &r}, Rx: &control.Patch{Limit: &r}, By: "root"}
}

func limited(r sluice.Rate) sluice.Allocations {
	a := sluice.Allocation{Limit: r, Weight: sluice.DefaultWeight}
	return sluice.Allocations{Tx: a, Rx: a}
}

// must sets a limit.
func (h *host) must(v sluice.VIF, r sluice.Rate) sluice.Change {
	h.Helper()
	c, err := h.Set(context.Background(), limit(v, r))
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// node is what the store says.
func (h *host) node(v sluice.VIF) control.Node {
	h.Helper()
	n, err := h.store.Get(context.Background(), v.Key())
	if err != nil {
		h.Fatal(err)
	}
	return n
}

// agree checks that kernel and store say want, and that nothing is under way.
func (h *host) agree(v sluice.VIF, want sluice.Allocations) {
	h.Helper()
	got, ok := h.kernel.has(v.Device)
	if !ok {
		got = sluice.UnshapedBoth
	}
	if n := h.node(v); got != want || n.Value.Terms() != want || n.State != sluice.Connected {
		h.Errorf("%s: the kernel has %s, the store %s and %s; want %s", v, got, n.Value, n.State, want)
	}
}

// eventually waits until it is so.
func (h *host) eventually(what string, so func() bool) {
	h.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("never: %s; the driver was asked %q", what, h.kernel.called())
		}
	}
}
