package xen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sluice"
	"sluice/control"
	"sluice/xen/xenstore"
)

var _ control.Store = (*Store)(nil)

// answerWithin bounds what xenstored is given to answer in, also when it
// has to be reached again. What is left open then is finished by the driver
// layer, or at the next start.
const answerWithin = 5 * time.Second

// By is who asked for a change that was written into xenstore by hand.
const By = "xenstore"

// Store is the device store as the patent has it: the new value and the
// back-end's state Connected -> Reconfiguring are one transaction of
// xenstore, and the driver layer wakes by a watch on that state, whoever
// wrote it. Settings and journal, which outlive the domain, are in Journal.
//
// A change is first journalled, then written into xenstore; at its end, first
// the state is restored, then the journal closed. So whatever a crash leaves,
// the journal knows that there is something to finish.
type Store struct {
	Journal   control.Store
	Xenstore  *xenstore.Client
	Inventory *Inventory
	Log       *slog.Logger

	// Fault is called between any two steps, with the name of the place; nil
	// but in tests, which end the process there.
	Fault func(point string)

	turns turns // by the vif's key: one at a time reads and writes a vif
}

// Get implements [control.Store]. A vif that Sluice never set has the limit
// that xl gave it.
func (s *Store) Get(ctx context.Context, key string) (control.Node, error) {
	free, err := s.turns.take(ctx, key)
	if err != nil {
		return control.Node{}, err
	}
	defer free()
	return s.get(ctx, key)
}

func (s *Store) get(ctx context.Context, key string) (control.Node, error) {
	node, err := s.Journal.Get(ctx, key)
	if err != nil || node.Revision != 0 {
		return node, err
	}
	if at, ok := s.Inventory.find(key); ok {
		node.Value.Tx.Limit, err = createdLimit(ctx, s.Xenstore.View, at)
	}
	return node, err
}

// createdLimit is what xl's rate= gave the vif.
func createdLimit(ctx context.Context, v xenstore.View, at Interface) (sluice.Rate, error) {
	rate, err := v.ReadString(ctx, at.Backend+"/sluice/created-rate")
	if errors.Is(err, xenstore.ErrNotFound) {
		rate, err = optional(ctx, v, at.Backend+"/rate")
	}
	if err != nil {
		return 0, unanswered(err)
	}
	credit, err := ParseCredit(rate)
	if err != nil {
		return sluice.Unlimited, nil // as netback takes it, with and without a node
	}
	return max(credit.Rate(), sluice.MinLimit), nil
}

// Begin implements [control.Store].
func (s *Store) Begin(ctx context.Context, c *sluice.Change, seen control.Node) error {
	if _, group := sluice.GroupOf(c.Key); group {
		return s.Journal.Begin(ctx, c, seen) // xenstore has no place for it
	}
	at, ok := s.Inventory.find(c.Key)
	if !ok && c.Device == "" {
		return s.Journal.Begin(ctx, c, seen) // it is absent, and is to have it when it comes
	}
	if !ok {
		return gone(sluice.VIF{VM: c.VM, Index: c.VIF})
	}
	free, err := s.turns.take(ctx, c.Key)
	if err != nil {
		return err
	}
	defer free()
	asking, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := isConnected(asking, s.Xenstore.View, at); err != nil {
		return err
	}
	if err := s.Journal.Begin(ctx, c, seen); err != nil {
		return err
	}
	s.fault("journalled")
	// From here on the change is known; an asker who leaves must not leave it half begun.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	err = s.transaction(writing, func(v xenstore.View) error {
		if ours, err := optional(writing, v, at.Backend+"/sluice/change"); err != nil || ours == id(c) {
			return err // an earlier try was carried out, though its answer was lost
		}
		if err := isConnected(writing, v, at); err != nil {
			return err
		}
		if err := writeValue(writing, v, at.Backend, c.To); err != nil {
			return err
		}
		if err := v.WriteString(writing, at.Backend+"/sluice/change", id(c)); err != nil {
			return err
		}
		return v.WriteString(writing, at.Backend+"/state", reconfiguring)
	})
	if err == nil {
		return nil
	}
	undone := *c
	undone.Result, undone.Error = sluice.Undone, err.Error()
	now, nodeErr := s.Journal.Get(ctx, c.Key)
	if nodeErr == nil {
		nodeErr = s.Journal.Finish(context.WithoutCancel(ctx), undone, now)
	}
	if nodeErr != nil {
		return errors.Join(err, nodeErr)
	}
	return err
}

// isConnected is nil if the back-end's state is Connected.
func isConnected(ctx context.Context, v xenstore.View, at Interface) error {
	state, err := v.ReadString(ctx, at.Backend+"/state")
	switch {
	case errors.Is(err, xenstore.ErrNotFound):
		return gone(at.VIF)
	case err != nil:
		return unanswered(err)
	case state == reconfiguring:
		return &sluice.Error{Code: sluice.Conflict, Message: fmt.Sprintf("%s is just being changed", at.VIF),
			Unchanged: "your change was not begun", Try: "ask again"}
	case state != connected:
		return &sluice.Error{Code: sluice.Refused, Message: fmt.Sprintf("the back-end of %s is in state %s, not Connected (4)", at.VIF, state),
			Unchanged: "your change was not begun", Try: "wait until the VM has booted"}
	}
	return nil
}

// Finish implements [control.Store]. It restores Connected only if the state
// is still Reconfiguring.
func (s *Store) Finish(ctx context.Context, c sluice.Change, seen control.Node) error {
	free, err := s.turns.take(ctx, c.Key)
	if err != nil {
		return err
	}
	defer free()
	value := c.To
	if c.Result != sluice.Done {
		value = c.From
	}
	if err := s.restore(ctx, c.Key, value); err != nil {
		return err
	}
	s.fault("restored")
	return s.Journal.Finish(ctx, c, seen)
}

func (s *Store) fault(point string) {
	if s.Fault != nil {
		s.Fault(point)
	}
}

// restore writes the value that holds, and ends a change in xenstore.
func (s *Store) restore(ctx context.Context, key string, value sluice.Allocations) error {
	at, ok := s.Inventory.find(key)
	if !ok {
		return nil // the domain has gone, and its back-end's folder with it
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	err := s.transaction(ctx, func(v xenstore.View) error {
		state, err := v.ReadString(ctx, at.Backend+"/state")
		if err != nil {
			return err
		}
		if err := writeValue(ctx, v, at.Backend, value); err != nil {
			return err
		}
		if err := v.Remove(ctx, at.Backend+"/sluice/change"); err != nil {
			return err
		}
		if state != reconfiguring {
			return nil
		}
		return v.WriteString(ctx, at.Backend+"/state", connected)
	})
	if errors.Is(err, xenstore.ErrNotFound) {
		return nil
	}
	return err
}

// transaction is one transaction, tried again where the connection was lost.
func (s *Store) transaction(ctx context.Context, do func(xenstore.View) error) error {
	for {
		err := s.Xenstore.Transaction(ctx, do)
		var ours *sluice.Error
		switch {
		case errors.Is(err, xenstore.ErrLost):
			continue
		case err == nil || errors.As(err, &ours) || errors.Is(err, xenstore.ErrNotFound):
			return err
		}
		return unanswered(err)
	}
}

// Nodes implements [control.Store].
func (s *Store) Nodes(ctx context.Context) (map[string]control.Node, error) {
	return s.Journal.Nodes(ctx)
}

// Keep implements [control.Store].
func (s *Store) Keep(ctx context.Context, c sluice.Change, seen control.Node) error {
	return s.Journal.Keep(ctx, c, seen)
}

// Records implements [control.Store].
func (s *Store) Records(ctx context.Context) (map[string]sluice.VIF, error) {
	return s.Journal.Records(ctx)
}

// Record implements [control.Store].
func (s *Store) Record(ctx context.Context, vifs []sluice.VIF) error {
	return s.Journal.Record(ctx, vifs)
}

// Forget implements [control.Store].
func (s *Store) Forget(ctx context.Context, c *sluice.Change, seen control.Node) error {
	return s.Journal.Forget(ctx, c, seen)
}

// Profiles implements [control.Store].
func (s *Store) Profiles(ctx context.Context) (sluice.Profiles, error) {
	return s.Journal.Profiles(ctx)
}

// PutProfiles implements [control.Store].
func (s *Store) PutProfiles(ctx context.Context, p *sluice.Profiles) error {
	return s.Journal.PutProfiles(ctx, p)
}

// Note implements [control.Store].
func (s *Store) Note(ctx context.Context, c *sluice.Change) error { return s.Journal.Note(ctx, c) }

// Change implements [control.Store].
func (s *Store) Change(ctx context.Context, id uint64) (sluice.Change, error) {
	return s.Journal.Change(ctx, id)
}

// Changes implements [control.Store].
func (s *Store) Changes(ctx context.Context, limit int) ([]sluice.Change, error) {
	return s.Journal.Changes(ctx, limit)
}

func id(c *sluice.Change) string { return fmt.Sprint(c.ID) }
