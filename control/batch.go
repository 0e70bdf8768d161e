package control

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sluice"
)

// MostAtOnce is how many requests SetAll takes.
const MostAtOnce = 1000

// step is one vif's or group's part of a batch.
type step struct {
	vif      sluice.VIF
	from, to sluice.Allocations
	by       string
	undoes   uint64

	// Set if it reverts, as in [sluice.Change].
	until   *time.Time
	back    *sluice.Allocations
	confirm bool
}

// change is the step as one.
func (s step) change() sluice.Change {
	return sluice.Change{Key: s.vif.Key(), By: s.by, At: now(), From: s.from, To: s.to, Undoes: s.undoes, Until: s.until, Back: s.back, Confirm: s.confirm}
}

// after is its node when it is in force.
func (s step) after() Node {
	n := Node{Value: s.to, State: sluice.Connected}
	if s.until != nil {
		n.Lease = Lease{Change: math.MaxUint64, Until: *s.until, Back: *s.back}
	}
	return n
}

// split divides a step that lowers one guarantee and raises the other. ok is
// false if it does not, or reverts: then it gives nothing that others could have.
func (s step) split() (giving, taking step, ok bool) {
	if s.until != nil {
		return s, s, false
	}
	giving, taking = s, s
	giving.to = s.from
	if s.to.Tx.Guarantee < s.from.Tx.Guarantee {
		giving.to.Tx = s.to.Tx
	}
	if s.to.Rx.Guarantee < s.from.Rx.Guarantee {
		giving.to.Rx = s.to.Rx
	}
	taking.from = giving.to
	return giving, taking, giving.to != s.from && raises(taking.change())
}

// rounds orders steps so that each may begin when those of the rounds before
// are in force, and nodes, what all have, are what they say until then: what
// one gives in a round, another has in the next. A step that must wait for
// what it takes gives at once. The error is why the first of those that never
// fit does not.
func (c *Control) rounds(ctx context.Context, nodes map[string]Node, steps []step) (all [][]step, err error) {
	for waiting := steps; len(waiting) > 0; {
		var round, later []step
		var refusal error
		born := make(map[string]bool) // groups that this round makes: others share in them from the next on
		begin := func(s step) error {
			change := s.change()
			seen := nodes[change.Key]
			if born[s.to.Group] {
				return noSuchGroup(s.to.Group, nil)
			}
			err := c.fits(ctx, nodes, s.vif, seen, change)
			if err == nil {
				if name, group := sluice.GroupOf(change.Key); group && s.from.Group == "" {
					born[name] = true
				}
				// Until it is in force, it holds what it had, or would have had again, and what it will have.
				had := s.from
				if l := seen.Lease; l.Change != 0 && level(l.Back) == level(had) {
					had.Tx.Guarantee, had.Rx.Guarantee = max(had.Tx.Guarantee, l.Back.Tx.Guarantee), max(had.Rx.Guarantee, l.Back.Rx.Guarantee)
				}
				nodes[change.Key] = Node{Value: s.to, State: sluice.Connected, Lease: Lease{Change: math.MaxUint64, Back: had}}
				round = append(round, s)
			}
			return err
		}
		for _, s := range waiting {
			why := begin(s)
			if why == nil {
				continue
			}
			if refusal == nil {
				refusal = why
			}
			if giving, taking, ok := s.split(); ok && begin(giving) == nil {
				s = taking
			}
			later = append(later, s)
		}
		if len(round) == 0 {
			return nil, refusal
		}
		for _, s := range round {
			nodes[s.vif.Key()] = s.after()
		}
		all, waiting = append(all, round), later
	}
	return all, nil
}

// SetAll makes the changes of many vifs and groups as one. They are checked together
// before the first is begun, and one that takes what another gives is begun when
// that is in force: no moment guarantees more than there is, though vifs trade
// what they hold. It returns the changes as they
// were made; a vif that gives in one direction and takes in the other has two.
//
// An error says that nothing was changed, or that what was changed already
// has been taken back, or what could not be. Should the daemon end in the
// middle, each vif has its old or its new value, and the journal says which.
// Groups are made before their members come, and deleted after they have left.
// Those that revert by themselves do so each by itself. Requests of which two
// are for one vif or group are Invalid. Where the first is a DryRun all are, and the last change that is
// returned has the Effect of all.
func (c *Control) SetAll(ctx context.Context, requests []Request) ([]sluice.Change, error) {
	steps, rounds, err := c.plan(ctx, requests)
	if err != nil {
		return nil, err
	}
	if requests[0].DryRun {
		return c.rehearseAll(ctx, steps)
	}
	return c.makeAll(ctx, rounds)
}

// makeAll makes steps that were ordered, all or none.
func (c *Control) makeAll(ctx context.Context, rounds [][]step) ([]sluice.Change, error) {
	done, err := c.steps(ctx, rounds)
	if err == nil {
		return done, nil
	}
	back := make([]step, 0, len(done))
	at := make(map[string]int)
	for _, change := range done { // what each vif was before the first of its changes
		i, again := at[change.Key]
		if !again {
			i = len(back)
			at[change.Key] = i
			vif, _, _ := c.find(ctx, change.Key)
			back = append(back, step{vif: vif, to: change.From, by: change.By})
		}
		back[i].from, back[i].undoes = change.To, change.ID
	}
	told := &sluice.Error{Code: sluice.CodeOf(err), Message: "of all changes none is in force", Unchanged: "all vifs have what they had", Err: err}
	if undone, failed := c.takeBack(context.WithoutCancel(ctx), back); failed != nil {
		told.Message = fmt.Sprintf("%d of %d vifs could not be given back what they had: %v; it began with", len(back)-undone, len(back), failed)
		told.Unchanged, told.Try = "", "sluice changes says what each has now"
	}
	return nil, told
}

// takeBack makes steps that undo others, and returns how many vifs have what
// they had.
func (c *Control) takeBack(ctx context.Context, back []step) (undone int, err error) {
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return 0, err
	}
	rounds, err := c.rounds(ctx, nodes, back)
	if err != nil {
		return 0, err
	}
	done, err := c.steps(ctx, rounds)
	for _, change := range done {
		for _, s := range back {
			if s.vif.Key() == change.Key && s.to == change.To {
				undone++
			}
		}
	}
	return undone, err
}

// plan finds the vifs, checks all that is asked as a whole, and orders it.
func (c *Control) plan(ctx context.Context, requests []Request) (steps []step, rounds [][]step, err error) {
	invalid := func(message, try string) error {
		return &sluice.Error{Code: sluice.Invalid, Message: message, Unchanged: "nothing was changed", Try: try}
	}
	if len(requests) == 0 || len(requests) > MostAtOnce {
		return nil, nil, invalid(fmt.Sprintf("%d changes are not 1 to %d", len(requests), MostAtOnce), "")
	}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	profiles, err := c.Profiles(ctx)
	if err != nil {
		return nil, nil, err
	}
	asked := now()
	steps = make([]step, len(requests))
	seen := make(map[string]bool, len(requests))
	for i, r := range requests {
		vif, err := c.locate(ctx, r.VM, r.VIF)
		if err != nil {
			return nil, nil, err
		}
		key := vif.Key()
		switch {
		case seen[key]:
			return nil, nil, invalid(fmt.Sprintf("there are two changes of %s", vif), "one that says all")
		case r.empty():
			return nil, nil, invalid(fmt.Sprintf("the change of %s sets nothing", vif), "a limit, guarantee, weight or priority for tx or rx")
		}
		now, err := c.Store.Get(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		if seen[key] = true; now.State != sluice.Connected || r.Revision != nil && *r.Revision != now.Revision {
			return nil, nil, c.conflict(ctx, vif)
		}
		to, err := r.to(vif, now.Value, profiles)
		if err != nil {
			return nil, nil, err
		}
		change := sluice.Change{At: asked}
		if err := r.lease(&change, now); err != nil {
			return nil, nil, err
		}
		steps[i] = step{vif: vif, from: now.Value, to: to, by: r.By, until: change.Until, back: change.Back, confirm: change.Confirm}
		nodes[key] = now
	}
	rounds, err = c.rounds(ctx, nodes, steps)
	if e, ok := err.(*sluice.Error); ok {
		told := *e
		told.Unchanged = "nothing was changed"
		return nil, nil, &told
	}
	return steps, rounds, err
}

// steps makes them, round by round, and returns those that are done also with
// an error.
func (c *Control) steps(ctx context.Context, rounds [][]step) (done []sluice.Change, err error) {
	for _, round := range rounds {
		type begun struct {
			vif    sluice.VIF
			change sluice.Change
		}
		var under []begun
		var errs []error
		for _, s := range round {
			change, err := c.start(ctx, s)
			if err != nil {
				errs = append(errs, err)
				break
			}
			under = append(under, begun{s.vif, change})
		}
		for _, b := range under {
			change, err := c.await(ctx, b.vif, b.change)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			done = append(done, change)
		}
		if err := errors.Join(errs...); err != nil {
			return done, err
		}
	}
	return done, nil
}

// start begins one.
func (c *Control) start(ctx context.Context, s step) (sluice.Change, error) {
	seen, err := c.Store.Get(ctx, s.vif.Key())
	if err != nil {
		return sluice.Change{}, err
	}
	if seen.Value != s.from {
		return sluice.Change{}, c.conflict(ctx, s.vif)
	}
	return c.begin(ctx, s.vif, seen, s.change())
}
