package xen

import (
	"context"
	"errors"
	"strings"
	"time"

	"sluice"
	"sluice/control"
	"sluice/xen/xenstore"
)

// lookAgain is how often changes that nobody has told the end of are looked after.
const lookAgain = time.Second

// Watch implements [control.Store]. A node's Reconfiguring is sent when
// xenstore's watch on the back-end's state has told of it. A state that
// somebody else set to Reconfiguring becomes a change by [By].
func (s *Store) Watch(ctx context.Context) (<-chan control.Update, error) {
	ctx, cancel := context.WithCancel(ctx)
	events, err := s.Xenstore.Watch(ctx, backends)
	if err != nil {
		cancel()
		return nil, unanswered(err)
	}
	updates, err := s.Journal.Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	out := make(chan control.Update)
	go func() {
		defer close(out)
		defer cancel()
		s.relay(ctx, updates, events, out)
	}()
	return out, nil
}

func (s *Store) relay(ctx context.Context, updates <-chan control.Update, events <-chan string, out chan<- control.Update) {
	held := make(map[string]control.Update) // Reconfiguring in the journal; not yet seen so in xenstore
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	changed := s.Inventory.Watch(ctx)
	send := func(u control.Update) {
		select {
		case out <- u:
		case <-ctx.Done():
		}
	}
	// pass sends on what is held of a vif, if it is time.
	pass := func(key string) {
		if u, ok := held[key]; ok && s.due(ctx, key) {
			delete(held, key)
			send(u)
		}
	}
	s.welcome(ctx, send)
	for {
		select {
		case <-ctx.Done():
			return
		case u, ok := <-updates:
			if !ok {
				return
			}
			if delete(held, u.Key); u.Node.State != sluice.Reconfiguring {
				send(u)
				continue
			}
			held[u.Key] = u
			pass(u.Key)
		case path, ok := <-events:
			if !ok {
				return
			}
			backend, state := strings.CutSuffix(path, "/state")
			for _, at := range s.Inventory.Interfaces() {
				if state && at.Backend != backend || !state && path != backends {
					continue
				}
				if _, ours := held[at.Key()]; ours {
					pass(at.Key())
				} else {
					go s.adopt(ctx, at)
				}
			}
		case <-changed:
			for key := range held {
				pass(key)
			}
			s.welcome(ctx, send)
			for _, at := range s.Inventory.Interfaces() {
				if at.State == reconfiguring {
					go s.adopt(ctx, at)
				}
			}
		case <-again.C:
			for key := range held {
				pass(key)
			}
		}
	}
}

// due reports whether the driver layer is to finish the vif's change now: the
// state says so, there is no vif any more, or nobody is beginning it, so that
// it was left by a crash.
func (s *Store) due(ctx context.Context, key string) bool {
	at, ok := s.Inventory.find(key)
	if !ok || s.turns.idle(key) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	state, err := s.Xenstore.ReadString(ctx, at.Backend+"/state")
	return err == nil && state == reconfiguring || errors.Is(err, xenstore.ErrNotFound)
}

// welcome tells of the limits that xl gave and nobody has changed, and writes
// what is set into the folders of back-ends that are new.
func (s *Store) welcome(ctx context.Context, send func(control.Update)) {
	for _, at := range s.Inventory.Interfaces() {
		if !at.present() {
			continue
		}
		node, err := s.Journal.Get(ctx, at.Key())
		switch {
		case err != nil:
		case node.Revision != 0:
			err = s.introduce(ctx, at, node)
		case at.Rate != "":
			node.Value.Tx.Limit, err = createdLimit(ctx, s.Xenstore.View, at)
			if err == nil {
				send(control.Update{Key: at.Key(), Node: node})
			}
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("a vif's settings could not be told", "vif", at.VIF.String(), "error", err)
		}
	}
}

// introduce writes a vif's value where there is none yet.
func (s *Store) introduce(ctx context.Context, at Interface, node control.Node) error {
	if node.State != sluice.Connected {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if _, err := s.Xenstore.Read(ctx, at.Backend+"/sluice/tx/limit"); !errors.Is(err, xenstore.ErrNotFound) {
		return err
	}
	err := s.transaction(ctx, func(v xenstore.View) error {
		if err := isConnected(ctx, v, at); err != nil {
			return err
		}
		return writeValue(ctx, v, at.Backend, node.Value)
	})
	if code := sluice.CodeOf(err); code == sluice.NotFound || code == sluice.Conflict || code == sluice.Refused {
		return nil // it has gone, or is just being set
	}
	return err
}

// adopt makes a change of what somebody wrote into xenstore, if the state is
// Reconfiguring and no change of ours. One of ours whose end only the journal
// has seen is ended in xenstore, too.
func (s *Store) adopt(ctx context.Context, at Interface) {
	state, err := s.Xenstore.ReadString(ctx, at.Backend+"/state")
	if err != nil || state != reconfiguring {
		return
	}
	key := at.Key()
	free, err := s.turns.take(ctx, key)
	if err != nil {
		return
	}
	defer free()
	if state, err = s.Xenstore.ReadString(ctx, at.Backend+"/state"); err != nil || state != reconfiguring {
		return
	}
	node, err := s.get(ctx, key)
	if err != nil || node.State != sluice.Connected {
		return
	}
	ours, err := optional(ctx, s.Xenstore.View, at.Backend+"/sluice/change")
	if err != nil {
		return
	}
	if ours != "" {
		if err := s.restore(ctx, key, node.Value); err != nil {
			s.Log.Warn("a finished change could not be ended in xenstore", "vif", at.VIF.String(), "error", err)
		}
		return
	}
	now := time.Now().UTC()
	want, bad := readValue(ctx, s.Xenstore.View, at.Backend, node.Value)
	c := sluice.Change{By: By, At: now, VM: at.VM, VIF: at.Index, Key: key, Device: at.Device, From: node.Value, To: want, Result: sluice.Pending,
		States: []sluice.StateAt{{State: sluice.Connected, At: now}, {State: sluice.Reconfiguring, At: now}}}
	if bad != nil {
		c.To = node.Value
	}
	if err := s.Journal.Begin(ctx, &c, node); err != nil {
		s.Log.Warn("a change written into xenstore could not be journalled", "vif", at.VIF.String(), "error", err)
		return
	}
	if bad == nil {
		return // the journal's watch now has the driver layer finish it
	}
	c.Result, c.Error = sluice.Undone, bad.Error()
	begun, err := s.Journal.Get(ctx, key)
	if err == nil {
		err = s.restore(ctx, key, node.Value)
	}
	if err == nil {
		err = s.Journal.Finish(ctx, c, begun)
	}
	if err != nil {
		s.Log.Warn("a senseless value in xenstore could not be undone", "vif", at.VIF.String(), "error", err)
	}
}
