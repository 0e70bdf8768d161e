package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"sluice"
)

// layer is the driver layer: it brings kernel and store into agreement. It
// always asks the store what is true; whoever wakes it only says where to
// look. The driver is told the whole state every time; those that change
// something at once share one telling.
type layer struct {
	Options
	answer  func(sluice.Change) // is told every change that is finished
	sharing func() bool         // whether vifs that nobody set share the link, too

	turn chan struct{} // held by whoever has the driver Set

	mu     sync.Mutex // for what follows
	want   sluice.Effective
	loaded bool              // want is whole
	edits  map[string]uint64 // when each key was changed last, by the count of edits
	count  uint64
	next   *round // what the next Set answers to; nil if nobody waits for it
}

// round is one Set of the driver, and those that wait for it.
type round struct {
	done   chan struct{}
	failed map[string]error
	err    error
}

func newLayer(o Options, answer func(sluice.Change), sharing func() bool) layer {
	return layer{Options: o, answer: answer, sharing: sharing, turn: make(chan struct{}, 1), edits: make(map[string]uint64),
		want: sluice.Effective{Capacity: o.Capacity(), Groups: make(map[string]sluice.Allocations), VIFs: make(map[string]sluice.Bound)}}
}

// settle brings one vif or group in order: it finishes the change under way,
// or has the kernel enforce what is set.
func (l *layer) settle(ctx context.Context, key string) error {
	node, err := l.Store.Get(ctx, key)
	if err != nil {
		return err
	}
	vif, present := find(l.Inventory.VIFs(), key)
	if node.State == sluice.Reconfiguring {
		return l.finish(ctx, vif, present, node)
	}
	if !present {
		vif = sluice.VIF{} // it enforces nothing
	}
	return l.apply(ctx, key, vif, l.effective(node))
}

// effective is what a node's vif is to be held to: nothing where nobody set it
// and nobody shares.
func (l *layer) effective(node Node) sluice.Allocations {
	if node.Revision == 0 && !l.sharing() {
		return sluice.UnshapedBoth
	}
	return node.Value.Terms()
}

// finish takes the node's change from Reconfiguring back to Connected: done,
// or undone.
func (l *layer) finish(ctx context.Context, vif sluice.VIF, present bool, node Node) error {
	change, err := l.Store.Change(ctx, node.Change)
	if err != nil {
		return err
	}
	l.Fault("before-apply")
	var left error                          // what stays to be done after the change is undone
	kept := !present && change.Device == "" // it was absent, and is to have it when it comes
	switch {
	case kept:
	case !present:
		err = &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s vif %d has vanished", change.VM, change.VIF)}
	default:
		change.Device = vif.Device
		err = l.apply(ctx, vif.Key(), vif, node.Value)
	}
	l.Fault("after-apply")
	if err == nil {
		change.Result, change.Verified = sluice.Done, !kept
	} else {
		change.Result, change.Error = sluice.Undone, words(err)
		if present {
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

// restore has the driver go back from a change that failed. A vif that can
// never be shaped, or has gone, is as it was.
func (l *layer) restore(ctx context.Context, vif sluice.VIF, from sluice.Allocations) error {
	err := l.apply(ctx, vif.Key(), vif, from)
	if code := sluice.CodeOf(err); code == sluice.NotFound || code == sluice.Unsupported {
		return nil
	}
	return err
}

// apply has the kernel enforce want on a vif, or a group. A vif without a
// device is not there, and enforces nothing.
func (l *layer) apply(ctx context.Context, key string, vif sluice.VIF, want sluice.Allocations) error {
	want = want.Terms()
	return l.set(ctx, key, func(e *sluice.Effective) {
		if name, ok := sluice.GroupOf(key); ok {
			if e.Groups[name] = want; want.Group == "" {
				delete(e.Groups, name)
			}
			return
		}
		// A device is reused: whoever had it before has it no more.
		for other, b := range e.VIFs {
			if other != key && vif.Device != "" && b.VIF.Device == vif.Device {
				delete(e.VIFs, other)
				l.edits[other] = l.count
			}
		}
		if e.VIFs[key] = (sluice.Bound{VIF: vif, Want: want}); vif.Device == "" || want == sluice.UnshapedBoth && !l.sharing() {
			delete(e.VIFs, key)
		}
	})
}

// set changes one key of what is to be enforced, and returns when the driver
// has answered to it.
func (l *layer) set(ctx context.Context, key string, edit func(*sluice.Effective)) error {
	l.mu.Lock()
	l.count++
	l.edits[key] = l.count
	edit(&l.want)
	if !l.loaded { // the driver must not take one vif for all there are
		l.mu.Unlock()
		failed, err := l.resync(ctx)
		return errors.Join(err, failed[key])
	}
	r := l.join()
	l.mu.Unlock()
	if err := l.run(ctx, r); err != nil {
		return err
	}
	return r.failed[key]
}

// join is the round that the next Set is for. l.mu is held.
func (l *layer) join() *round {
	if l.next == nil {
		l.next = &round{done: make(chan struct{})}
	}
	return l.next
}

// run waits for a round to be over, and runs it if nobody else does.
func (l *layer) run(ctx context.Context, r *round) error {
	select {
	case <-r.done:
		return r.err
	case l.turn <- struct{}{}:
	}
	defer func() { <-l.turn }()
	select {
	case <-r.done:
		return r.err
	default:
	}
	l.mu.Lock()
	want := sluice.Effective{Capacity: l.want.Capacity, Groups: maps.Clone(l.want.Groups), VIFs: maps.Clone(l.want.VIFs)}
	l.next = nil
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.ApplyWithin)
	defer cancel()
	r.failed, r.err = l.Driver.Set(ctx, want)
	close(r.done)
	return r.err
}

// setCapacity has the kernel share another capacity.
func (l *layer) setCapacity(ctx context.Context, c sluice.Capacity) error {
	return l.set(ctx, "", func(e *sluice.Effective) { e.Capacity = c })
}

// resync tells the driver everything anew: what the store says for every vif
// and group that is there, and nothing of any other. It returns the keys that
// are not enforced.
func (l *layer) resync(ctx context.Context) (failed map[string]error, err error) {
	l.mu.Lock()
	began := l.count
	if !l.loaded {
		began = 0
	}
	l.mu.Unlock()
	nodes, err := l.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	want := sluice.Effective{Groups: make(map[string]sluice.Allocations), VIFs: make(map[string]sluice.Bound)}
	for _, key := range groupKeys(nodes) {
		if n := nodes[key]; n.Value.Group != "" {
			name, _ := sluice.GroupOf(key)
			want.Groups[name] = n.Value
		}
	}
	sharing := l.sharing()
	for _, vif := range l.Inventory.VIFs() {
		key := vif.Key()
		n, ok := nodes[key]
		if !ok && !sharing {
			continue
		}
		if !ok || n.Revision == 0 { // the store may know what it had when it was created
			if n, err = l.Store.Get(ctx, key); err != nil {
				return nil, err
			}
		}
		if value := l.effective(n); value != sluice.UnshapedBoth || sharing {
			want.VIFs[key] = sluice.Bound{VIF: vif, Want: value}
		}
	}
	l.mu.Lock()
	want.Capacity = l.want.Capacity
	// What was changed since we asked the store is newer than its answer.
	for key, at := range l.edits {
		if at <= began {
			continue
		}
		if name, ok := sluice.GroupOf(key); ok {
			if want.Groups[name] = l.want.Groups[name]; want.Groups[name].Group == "" {
				delete(want.Groups, name)
			}
		} else if b, ok := l.want.VIFs[key]; ok {
			want.VIFs[key] = b
		} else {
			delete(want.VIFs, key)
		}
	}
	l.want, l.loaded = want, true
	r := l.join()
	l.mu.Unlock()
	if err := l.run(ctx, r); err != nil {
		return nil, err
	}
	return r.failed, nil
}

// abandoned are the keys of what is enforced for vifs that are not there any
// more, or not on that device.
func (l *layer) abandoned(present map[string]sluice.VIF) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []string
	for key, b := range l.want.VIFs {
		if present[key].Device != b.VIF.Device {
			keys = append(keys, key)
		}
	}
	return keys
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
