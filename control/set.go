package control

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice"
)

// Options are what a [Control] is made of.
type Options struct {
	Inventory Inventory
	Driver    Driver
	Store     Store
	Log       *slog.Logger

	// Capacity is what the host's link carries, asked at every check; nil
	// where nobody said.
	Capacity func() sluice.Capacity
	// CapacityWhy is who says so, in words; nil where that is not known.
	CapacityWhy func() string
	// PutCapacity keeps another capacity over restarts, and has Capacity say
	// so, when the kernel shares it; nil where that cannot be.
	PutCapacity func(ctx context.Context, c sluice.Capacity) error
	// Reserve is how much of the capacity is never guaranteed, in percent, until
	// SetLink says another.
	Reserve int
	// Demand is what vifs want now, as measured, by their keys; nil where nobody measures.
	Demand func() map[string]sluice.Capacity
	// AnswerWithin is how long an asker waits for the driver layer; 10 s if 0.
	AnswerWithin time.Duration
	// ApplyWithin is how long a driver may take; 5 s if 0.
	ApplyWithin time.Duration
	// Fault is called between any two steps, with the name of the place; nil
	// but in tests, which end the process there.
	Fault func(point string)
}

// Control changes what vifs may use. Its methods are safe for concurrent
// use; all but the driver layer, which is [Control.Run], may be used at once.
type Control struct {
	Options
	hub    hub
	layer  layer
	census *census

	mu    sync.Mutex
	nodes map[string]Node // what the store last said, for Settings

	resized chan struct{} // the capacity has changed

	profiling sync.Mutex // held while vifs are brought in line with their profiles
	profiles  atomic.Pointer[sluice.Profiles]
	lacking   atomic.Bool  // a vif is without what its profile guarantees
	reserve   atomic.Int64 // percent of it, as SetLink said last

	// admission is held from counting what is guaranteed until more is.
	admission sync.Mutex
}

// New makes a Control. Changes are applied once Run runs.
func New(o Options) *Control {
	if o.Capacity == nil {
		o.Capacity = func() sluice.Capacity { return sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited} }
	}
	if o.Demand == nil {
		o.Demand = func() map[string]sluice.Capacity { return nil }
	}
	if o.AnswerWithin == 0 {
		o.AnswerWithin = 10 * time.Second
	}
	if o.ApplyWithin == 0 {
		o.ApplyWithin = 5 * time.Second
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	census := &census{inventory: o.Inventory, store: o.Store}
	o.Inventory = census // everybody here knows vifs by their IDs
	c := &Control{Options: o, census: census, nodes: make(map[string]Node), resized: make(chan struct{}, 1)}
	c.reserve.Store(int64(o.Reserve))
	c.layer = newLayer(o, c.hub.answer, c.sharing)
	return c
}

// VIFs returns every vif present with its ID, by VM name and index.
func (c *Control) VIFs() []sluice.VIF { return c.census.VIFs() }

// Set takes a request its whole way and returns the finished change.
//
// An error of code Invalid, NotFound, Refused, Conflict or Unavailable with a
// change of ID 0 changed nothing. NotApplied means that the change was begun
// and undone; Unavailable with a pending change, that store or driver layer
// have not answered in time and the change goes on without its asker.
func (c *Control) Set(ctx context.Context, r Request) (sluice.Change, error) {
	asked := now()
	if r.empty() {
		return sluice.Change{}, &sluice.Error{Code: sluice.Invalid, Message: "the request sets nothing", Try: "a limit, guarantee, weight or priority for tx or rx"}
	}
	vif, err := c.locate(ctx, r.VM, r.VIF)
	if err != nil {
		return sluice.Change{}, err
	}
	c.Fault("located")
	seen, err := c.Store.Get(ctx, vif.Key())
	if err != nil {
		return sluice.Change{}, err
	}
	if r.Revision != nil && *r.Revision != seen.Revision {
		return sluice.Change{}, c.conflict(ctx, vif)
	}
	profiles, err := c.Profiles(ctx)
	if err != nil {
		return sluice.Change{}, err
	}
	to, err := r.to(vif, seen.Value, profiles)
	if err != nil {
		return sluice.Change{}, err
	}
	change := sluice.Change{By: r.By, At: asked, From: seen.Value, To: to}
	if err := r.lease(&change, seen); err != nil {
		return sluice.Change{}, err
	}
	return c.carry(ctx, vif, seen, change, r.DryRun)
}

// carry checks a change, writes it into the store, which wakes the driver
// layer, and waits for the driver layer's answer.
func (c *Control) carry(ctx context.Context, vif sluice.VIF, seen Node, change sluice.Change, dry bool) (sluice.Change, error) {
	if dry {
		return c.rehearse(ctx, vif, seen, change)
	}
	change, err := c.begin(ctx, vif, seen, change)
	if err != nil {
		return change, err
	}
	change, err = c.await(ctx, vif, change)
	c.Fault("before-answer")
	return change, err
}

// begin checks a change and writes it into the store, which wakes the driver
// layer. An error comes with a change of ID 0 unless the change may have begun.
func (c *Control) begin(ctx context.Context, vif sluice.VIF, seen Node, change sluice.Change) (sluice.Change, error) {
	if raises(change) || moves(vif, change) {
		c.admission.Lock()
		defer c.admission.Unlock()
	}
	if seen.State != sluice.Connected { // a rehearsal may say what would come after the change that is under way
		return sluice.Change{}, c.conflict(ctx, vif)
	}
	change, err := c.check(ctx, vif, seen, change)
	if err != nil {
		return sluice.Change{}, err
	}
	if err := c.census.keep(ctx, vif); err != nil {
		return sluice.Change{}, err
	}
	c.Fault("before-begin")
	change.States = []sluice.StateAt{{State: sluice.Connected, At: change.At}, {State: sluice.Reconfiguring, At: time.Now().UTC()}}
	if err := c.Store.Begin(ctx, &change, seen); err != nil {
		switch {
		case sluice.CodeOf(err) == sluice.Conflict:
			return sluice.Change{}, c.conflict(ctx, vif)
		case change.ID != 0 && sluice.CodeOf(err) == sluice.Unavailable:
			return change, pending(change, vif, err) // it may have begun
		}
		return sluice.Change{}, err
	}
	c.Fault("after-begin")
	return change, nil
}

// check returns the change as it would be begun, or why it cannot be.
func (c *Control) check(ctx context.Context, vif sluice.VIF, seen Node, change sluice.Change) (sluice.Change, error) {
	change.VM, change.VIF, change.Key, change.Device = vif.VM, vif.Index, vif.Key(), vif.Device
	change.Result = sluice.Pending
	nodes, err := c.neighbours(ctx, vif, change)
	if err != nil {
		return sluice.Change{}, err
	}
	return change, c.fits(ctx, nodes, vif, seen, change)
}

// neighbours are what all have, if it matters to the change.
func (c *Control) neighbours(ctx context.Context, vif sluice.VIF, change sluice.Change) (map[string]Node, error) {
	if !raises(change) && !moves(vif, change) {
		return nil, nil
	}
	return c.Store.Nodes(ctx)
}

// fits refuses a change that others leave no room for, nodes being what they
// have, or that makes no sense by itself: in this order, so that suggested
// values fit. Whoever goes on to begin the change holds c.admission.
func (c *Control) fits(ctx context.Context, nodes map[string]Node, vif sluice.VIF, seen Node, change sluice.Change) error {
	if err := c.grouped(nodes, vif, change); err != nil {
		return err
	}
	if err := c.admit(ctx, nodes, vif, seen, change); err != nil {
		return err
	}
	return c.sensible(vif, change)
}

// sensible checks the directions that the request touches, the narrower one
// first: the other may be as it was, even where today it would be refused. A
// limit that was there already is not held against a link that has shrunk since.
func (c *Control) sensible(vif sluice.VIF, change sluice.Change) error {
	capacity := c.Capacity()
	order := sluice.Directions
	slices.SortStableFunc(order[:], func(a, b sluice.Direction) int {
		return cmp.Compare(min(change.To.Get(a).Limit, capacity.Get(a)), min(change.To.Get(b).Limit, capacity.Get(b)))
	})
	for _, d := range order {
		from, to, link := change.From.Get(d), change.To.Get(d), capacity.Get(d)
		if to == from {
			continue
		}
		if to.Limit == from.Limit || change.Undoes != 0 {
			link = sluice.Unlimited
		}
		err := to.Check(d, link)
		if e, ok := err.(*sluice.Error); ok {
			told := *e
			told.Unchanged = keeps(vif, change.From)
			return &told
		}
	}
	return nil
}

// await returns the change when the driver layer has finished it.
func (c *Control) await(ctx context.Context, vif sluice.VIF, change sluice.Change) (sluice.Change, error) {
	finished := c.hub.wait(change.ID)
	defer c.hub.forget(change.ID)
	// It may have been finished before we listened.
	if now, err := c.Store.Change(ctx, change.ID); err == nil && now.Result != sluice.Pending {
		return now, outcome(vif, now)
	}
	waiting, cancel := context.WithTimeout(ctx, c.AnswerWithin)
	defer cancel()
	select {
	case now := <-finished:
		return now, outcome(vif, now)
	case <-waiting.Done():
	}
	// Another writer of the store may have finished it unheard.
	if now, err := c.Store.Change(ctx, change.ID); err == nil && now.Result != sluice.Pending {
		return now, outcome(vif, now)
	}
	return change, pending(change, vif, waiting.Err())
}

func now() time.Time { return time.Now().UTC() }

// pending is for an asker who cannot wait for the end.
func pending(c sluice.Change, vif sluice.VIF, err error) error {
	return &sluice.Error{Code: sluice.Unavailable,
		Message: fmt.Sprintf("what became of change %d of %s to %s is not known yet", c.ID, vif, c.To),
		Try:     fmt.Sprintf("look for change %d in sluice changes: it will be done or undone", c.ID), Err: err}
}

// outcome is nil for a change that is done, else the error to tell its asker.
func outcome(vif sluice.VIF, c sluice.Change) error {
	if c.Result == sluice.Done {
		return nil
	}
	return &sluice.Error{Code: sluice.NotApplied,
		Message:   fmt.Sprintf("change %d of %s to %s was undone: %s", c.ID, vif, c.To, c.Error),
		Unchanged: keeps(vif, c.From)}
}

// conflict says who changed the vif, or is just changing it.
func (c *Control) conflict(ctx context.Context, vif sluice.VIF) error {
	now, err := c.Store.Get(ctx, vif.Key())
	if err != nil {
		return err
	}
	e := &sluice.Error{Code: sluice.Conflict, Unchanged: "your change was not begun",
		Message: fmt.Sprintf("%s is just being changed by %s", vif, c.last(ctx, now)),
		Try:     "look at what it is now, and ask again"}
	if now.State == sluice.Connected {
		e.Message = fmt.Sprintf("%s was changed since you looked, by %s", vif, c.last(ctx, now))
		if now.Change == 0 {
			e.Message = fmt.Sprintf("%s is not at the revision you saw: nobody has set it yet", vif)
		}
	}
	return e
}

// last describes the node's last change: who, to what, when.
func (c *Control) last(ctx context.Context, n Node) string {
	change, err := c.Store.Change(ctx, n.Change)
	if err != nil {
		return fmt.Sprintf("change %d", n.Change)
	}
	return fmt.Sprintf("%s to %s at %s (change %d)", change.By, change.To, change.At.Local().Format(time.TimeOnly), change.ID)
}

func keeps(vif sluice.VIF, a sluice.Allocations) string {
	if vif.IsGroup() && a.Group == "" {
		return fmt.Sprintf("there is still no %s", vif)
	}
	return fmt.Sprintf("%s keeps %s", vif, a)
}

// Change returns one record of the journal; NotFound if there is none.
func (c *Control) Change(ctx context.Context, id uint64) (sluice.Change, error) {
	return c.Store.Change(ctx, id)
}

// Changes returns the newest records of the journal first, at most limit.
func (c *Control) Changes(ctx context.Context, limit int) ([]sluice.Change, error) {
	return c.Store.Changes(ctx, limit)
}

// Watch sends every change at every step of its way until ctx ends, then
// closes the channel. Who reads too slowly misses the oldest steps.
func (c *Control) Watch(ctx context.Context) <-chan sluice.Change {
	return c.hub.subscribers.Watch(ctx, backlog)
}

func (r Request) empty() bool {
	return r.Tx.empty() && r.Rx.empty() && r.Group == nil && r.Profile == nil && !r.Reset && !r.Delete
}

func (p *Patch) empty() bool { return p == nil || *p == Patch{} }

// on returns a with the patch's fields.
func (p *Patch) on(a sluice.Allocation) sluice.Allocation {
	if p == nil {
		return a
	}
	if p.Limit != nil {
		a.Limit = *p.Limit
	}
	if p.Guarantee != nil {
		a.Guarantee = *p.Guarantee
	}
	if p.Weight != nil {
		a.Weight = *p.Weight
	}
	if p.Priority != nil {
		a.Priority = *p.Priority
	}
	return a
}
