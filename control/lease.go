package control

import (
	"context"
	"fmt"
	"time"

	"sluice"
)

const (
	// LeastLease and MostLease bound how long a temporary change may hold.
	LeastLease = time.Second
	MostLease  = 366 * 24 * time.Hour
	// returnAgain is the pause before a way back that failed is tried again.
	returnAgain = 30 * time.Second
	// self is who asks for what Sluice does by itself.
	self = "sluice"
)

// After is the node when c, the change under way, has ended. A change that is
// undone leaves the lease of what it found.
func (n Node) After(c sluice.Change) Node {
	after := Node{Value: c.From, State: sluice.Connected, Change: c.ID, Lease: n.Lease}
	if c.Result != sluice.Done {
		return after
	}
	after.Value, after.Lease = c.To, Lease{}
	if c.Until != nil && c.Back != nil {
		after.Lease = Lease{Change: c.ID, Until: *c.Until, Back: *c.Back}
	}
	return after
}

// lease makes the change one that reverts, if the request says so. What it
// reverts to is the last value that was to last.
func (r Request) lease(c *sluice.Change, seen Node) error {
	length := r.For
	if r.Confirm != 0 {
		length, c.Confirm = r.Confirm, true
	}
	switch {
	case r.For != 0 && r.Confirm != 0:
		return &sluice.Error{Code: sluice.Invalid, Message: "a change reverts either in any case or unless it is confirmed",
			Unchanged: "nothing was changed", Try: "only one of --for and --confirm"}
	case length == 0:
		return nil
	case length < LeastLease || length > MostLease:
		return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("a change for %s is outside 1s to 366 days", length),
			Unchanged: "nothing was changed", Try: fmt.Sprint(min(max(length, LeastLease), MostLease))}
	}
	until, back := c.At.Add(length), seen.Value
	if seen.Lease.Change != 0 {
		back = seen.Lease.Back
	}
	c.Until, c.Back = &until, &back
	return nil
}

// Confirm makes a change last that would revert. It returns the change; an
// error changed nothing.
func (c *Control) Confirm(ctx context.Context, id uint64, by string) (sluice.Change, error) {
	change, err := c.Store.Change(ctx, id)
	if err != nil {
		return sluice.Change{}, err
	}
	if change.Note != "" {
		return sluice.Change{}, isNote(change)
	}
	seen, err := c.Store.Get(ctx, change.Key)
	if err != nil {
		return sluice.Change{}, err
	}
	vif := sluice.VIF{VM: change.VM, Index: change.VIF}
	refuse := func(why string) (sluice.Change, error) {
		return sluice.Change{}, &sluice.Error{Code: sluice.Refused, Message: fmt.Sprintf("change %d of %s %s", id, vif, why), Unchanged: keeps(vif, seen.Value)}
	}
	switch {
	case change.Until == nil:
		return refuse("lasts already: it was not asked for a time")
	case change.ConfirmedBy != "":
		return refuse("was confirmed already, by " + change.ConfirmedBy)
	case seen.State != sluice.Connected:
		return sluice.Change{}, &sluice.Error{Code: sluice.Conflict, Unchanged: "nothing was changed", Try: "look at what becomes of it, and ask again",
			Message: fmt.Sprintf("%s is just being changed by %s", vif, c.last(ctx, seen))}
	case seen.Lease.Change != id:
		return refuse("is not in force any more: " + c.last(ctx, seen) + " came after it")
	}
	change.ConfirmedBy = by
	if err := c.Store.Keep(ctx, change, seen); err != nil {
		return sluice.Change{}, err
	}
	return change, nil
}

// arm sees to it that a lease's end is noticed. Only Run calls it.
func (c *Control) arm(q *queue, timers map[string]*time.Timer, u Update) {
	if t := timers[u.Key]; t != nil {
		t.Stop()
		delete(timers, u.Key)
	}
	l := u.Node.Lease
	if l.Change == 0 || u.Node.State != sluice.Connected {
		return
	}
	wait := time.Until(l.Until)
	if u.Change.Undoes == l.Change && u.Change.Result == sluice.Undone {
		wait = max(wait, returnAgain)
	}
	timers[u.Key] = time.AfterFunc(wait, func() { q.wake(job{lease: u.Key}) })
}

// expire begins a lease's way back, a change of its own. The driver layer
// ends it.
func (c *Control) expire(ctx context.Context, key string) error {
	seen, err := c.Store.Get(ctx, key)
	if err != nil || seen.Lease.Change == 0 || seen.State != sluice.Connected {
		return err // whoever changes it now is watched, and its lease armed again
	}
	if left := time.Until(seen.Lease.Until); left > 0 {
		return fmt.Errorf("the clock was set back: change %d reverts in %s", seen.Lease.Change, left)
	}
	vif, known, err := c.find(ctx, key)
	if err != nil || !known { // it was forgotten
		return err
	}
	change := sluice.Change{By: self, At: time.Now().UTC(), From: seen.Value, To: seen.Lease.Back, Undoes: seen.Lease.Change}
	_, err = c.begin(ctx, vif, seen, change)
	return err
}
