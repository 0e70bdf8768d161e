package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sluice"
)

// layer is the driver layer: it brings kernel and store into agreement, one
// vif at a time. It always asks the store what is true; whoever wakes it only
// says where to look.
type layer struct {
	Options
	answer  func(sluice.Change) // is told every change that is finished
	sharing func() bool         // whether vifs that nobody set share the link, too
	devices locks

	mu    sync.Mutex
	bound map[string]sluice.VIF // by device: whose settings were applied there
}

func newLayer(o Options, answer func(sluice.Change), sharing func() bool) layer {
	return layer{Options: o, answer: answer, sharing: sharing, bound: make(map[string]sluice.VIF)}
}

// settle brings one vif in order: it finishes the change under way, or has
// the kernel enforce what is set.
func (l *layer) settle(ctx context.Context, key string) error {
	node, err := l.Store.Get(ctx, key)
	if err != nil {
		return err
	}
	vif, present := find(l.Inventory.VIFs(), key)
	switch {
	case node.State == sluice.Reconfiguring:
		return l.finish(ctx, vif, present, node)
	case present && (node.Revision != 0 || l.sharing()):
		return l.apply(ctx, vif, node.Value)
	case present:
		return l.free(ctx, vif)
	}
	return nil
}

// free removes what was applied to a vif that nobody ever set, once there is
// nothing to share any more.
func (l *layer) free(ctx context.Context, vif sluice.VIF) error {
	defer l.devices.lock(vif.Device)()
	if at, bound := l.boundTo(vif.Device); !bound || at.Key() != vif.Key() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.ApplyWithin)
	defer cancel()
	if err := l.Driver.Release(ctx, vif); err != nil {
		return err
	}
	l.unbind(vif.Device)
	return nil
}

// finish takes the node's change from Reconfiguring back to Connected: done,
// or undone.
func (l *layer) finish(ctx context.Context, vif sluice.VIF, present bool, node Node) error {
	change, err := l.Store.Change(ctx, node.Change)
	if err != nil {
		return err
	}
	l.Fault("before-apply")
	var left error // what stays to be done after the change is undone
	if !present {
		err = &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s vif %d has vanished", change.VM, change.VIF)}
	} else {
		change.Device = vif.Device
		err = l.apply(ctx, vif, node.Value)
	}
	l.Fault("after-apply")
	if err == nil {
		change.Result, change.Verified = sluice.Done, true
	} else {
		change.Result, change.Error = sluice.Undone, words(err)
		if present && sluice.CodeOf(err) != sluice.NotFound {
			if left = l.restore(ctx, vif, change.From); left != nil {
				change.Error += "; and the kernel does not confirm the old value: " + words(left)
			}
		}
	}
	now := time.Now().UTC()
	change.States = append(change.States, sluice.StateAt{State: sluice.Connected, At: now})
	change.TookNS = now.Sub(change.At).Nanoseconds()
	l.Fault("before-finish")
	if err := l.Store.Finish(ctx, change, node); err != nil {
		return err
	}
	l.Fault("after-finish")
	l.answer(change)
	return left
}

// apply has the kernel enforce want on the vif.
func (l *layer) apply(ctx context.Context, vif sluice.VIF, want sluice.Allocations) error {
	defer l.devices.lock(vif.Device)()
	ctx, cancel := context.WithTimeout(ctx, l.ApplyWithin)
	defer cancel()
	if vif.IsGroup() {
		return l.Driver.Apply(ctx, vif, want)
	}
	if old, ok := l.boundTo(vif.Device); ok && old.Key() != vif.Key() {
		if err := l.Driver.Release(ctx, old); err != nil {
			return err
		}
	}
	l.bind(vif)
	return l.Driver.Apply(ctx, vif, want)
}

// restore makes sure that a change that failed left nothing behind. Drivers
// promise so, but a crash may have come between their steps.
func (l *layer) restore(ctx context.Context, vif sluice.VIF, from sluice.Allocations) error {
	if from != sluice.UnshapedBoth || l.sharing() || vif.IsGroup() {
		return l.apply(ctx, vif, from)
	}
	defer l.devices.lock(vif.Device)()
	ctx, cancel := context.WithTimeout(ctx, l.ApplyWithin)
	defer cancel()
	return l.Driver.Release(ctx, vif)
}

// release removes what was applied to a device whose vif has gone, or has
// become another's. It looks again first: devices' names are reused.
func (l *layer) release(ctx context.Context, device string) error {
	defer l.devices.lock(device)()
	old, ok := l.boundTo(device)
	if !ok {
		return nil
	}
	if vif, present := find(l.Inventory.VIFs(), old.Key()); present && vif.Device == device {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.ApplyWithin)
	defer cancel()
	if err := l.Driver.Release(ctx, old); err != nil {
		return err
	}
	l.unbind(device)
	return nil
}

func (l *layer) unbind(device string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.bound, device)
}

func (l *layer) bind(v sluice.VIF) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound[v.Device] = v
}

func (l *layer) boundTo(device string) (sluice.VIF, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.bound[device]
	return v, ok
}

// abandoned are the devices whose vifs are not there any more.
func (l *layer) abandoned(present map[string]sluice.VIF) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var devices []string
	for device, v := range l.bound {
		if present[v.Key()].Device != device {
			devices = append(devices, device)
		}
	}
	return devices
}

// words is what the journal keeps of a driver's error. What stayed unchanged
// is said by the change itself.
func words(err error) string {
	var e *sluice.Error
	if errors.As(err, &e) {
		told := *e
		told.Unchanged = ""
		return told.Error()
	}
	return err.Error()
}

// locks are a lock for every name in use.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// lock takes the name's lock and returns what gives it back.
func (l *locks) lock(name string) func() {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*lock)
	}
	one := l.held[name]
	if one == nil {
		one = new(lock)
		l.held[name] = one
	}
	one.users++
	l.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.held, name)
		}
	}
}
