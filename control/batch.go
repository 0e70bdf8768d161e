package control

import (
	"context"
	"errors"
	"fmt"

	"sluice"
)

// MostAtOnce is how many requests SetAll takes.
const MostAtOnce = 1000

// step is one vif's part of a batch.
type step struct {
	vif      sluice.VIF
	from, to sluice.Allocations
	by       string
	undoes   uint64
}

// gives says whether the step promises less than held before in any direction.
func (s step) gives() bool {
	return s.to.Tx.Guarantee < s.from.Tx.Guarantee || s.to.Rx.Guarantee < s.from.Rx.Guarantee
}

func (s step) takes() bool {
	c := sluice.Change{From: s.from, To: s.to}
	return raises(c) || moves(s.vif, c)
}

// split divides steps into those that give and those that take what was given
// before. One that does both is in both.
func split(steps []step) (giving, taking []step) {
	for _, s := range steps {
		switch {
		case !s.gives():
			taking = append(taking, s)
		case !s.takes():
			giving = append(giving, s)
		default:
			less := s.from
			less.Tx.Guarantee = min(s.from.Tx.Guarantee, s.to.Tx.Guarantee)
			less.Rx.Guarantee = min(s.from.Rx.Guarantee, s.to.Rx.Guarantee)
			giving = append(giving, step{s.vif, s.from, less, s.by, s.undoes})
			taking = append(taking, step{s.vif, less, s.to, s.by, s.undoes})
		}
	}
	return giving, taking
}

// SetAll makes the changes of many vifs as one. They are checked together
// before the first is begun, and all that lower a guarantee are in force
// before one that raises another's is begun: no moment promises more than
// there is, though vifs trade what they hold. It returns the changes as they
// were made; a vif that gives in one direction and takes in the other has two.
//
// An error says that nothing was changed, or that what was changed already
// has been taken back, or what could not be. Should the daemon end in the
// middle, each vif has its old or its new value, and the journal says which.
// Requests that are about groups, that come back by themselves, or of which
// two are for one vif are Invalid. Where the first is a DryRun all are, and the
// last change that is returned has the Effect of all.
func (c *Control) SetAll(ctx context.Context, requests []Request) ([]sluice.Change, error) {
	steps, err := c.plan(ctx, requests)
	if err != nil {
		return nil, err
	}
	if requests[0].DryRun {
		return c.rehearseAll(ctx, steps)
	}
	done, err := c.steps(ctx, steps)
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
			vif, _ := find(c.Inventory.VIFs(), change.Key)
			back = append(back, step{vif: vif, to: change.From, by: change.By})
		}
		back[i].from, back[i].undoes = change.To, change.ID
	}
	told := &sluice.Error{Code: sluice.CodeOf(err), Message: "of all changes none is in force: " + err.Error(), Unchanged: "all vifs have what they had", Err: err}
	if undone, failed := c.steps(context.WithoutCancel(ctx), back); failed != nil {
		told.Message = fmt.Sprintf("%v; and %d of %d vifs could not be given back what they had: %v", err, len(back)-len(undone), len(back), failed)
		told.Unchanged, told.Try = "", "sluice changes says what each has now"
	}
	return nil, told
}

// plan finds the vifs and checks all that is asked as a whole.
func (c *Control) plan(ctx context.Context, requests []Request) ([]step, error) {
	invalid := func(message, try string) error {
		return &sluice.Error{Code: sluice.Invalid, Message: message, Unchanged: "nothing was changed", Try: try}
	}
	if len(requests) == 0 || len(requests) > MostAtOnce {
		return nil, invalid(fmt.Sprintf("%d changes are not 1 to %d", len(requests), MostAtOnce), "")
	}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	vifs := c.Inventory.VIFs()
	steps := make([]step, len(requests))
	seen := make(map[string]Node, len(requests))
	for i, r := range requests {
		vif, err := locate(vifs, r.VM, r.VIF)
		if err != nil {
			return nil, err
		}
		key := vif.Key()
		switch _, twice := seen[key]; {
		case vif.IsGroup() || r.Delete:
			return nil, invalid(fmt.Sprintf("%s cannot be changed together with others", vif), "sluice group set changes one at a time")
		case r.For != 0 || r.Confirm != 0:
			return nil, invalid(fmt.Sprintf("the change of %s would come back by itself, and others not", vif), "ask for it alone")
		case twice:
			return nil, invalid(fmt.Sprintf("there are two changes of %s", vif), "one that says all")
		case r.Tx.empty() && r.Rx.empty() && r.Group == nil:
			return nil, invalid(fmt.Sprintf("the change of %s sets nothing", vif), "a limit, guarantee, weight or priority for tx or rx")
		}
		now, err := c.Store.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		if seen[key] = now; now.State != sluice.Connected || r.Revision != nil && *r.Revision != now.Revision {
			return nil, c.conflict(ctx, vif)
		}
		to, err := r.to(vif, now.Value)
		if err != nil {
			return nil, err
		}
		steps[i] = step{vif: vif, from: now.Value, to: to, by: r.By}
		if err := c.sensible(vif, sluice.Change{From: now.Value, To: to}); err != nil {
			return nil, err
		}
	}
	giving, taking := split(steps)
	for _, s := range append(giving, taking...) {
		change := sluice.Change{Key: s.vif.Key(), From: s.from, To: s.to}
		if err := c.fits(ctx, nodes, s.vif, seen[change.Key], change); err != nil {
			return nil, err
		}
		nodes[change.Key] = Node{Value: s.to, State: sluice.Connected}
	}
	return steps, nil
}

// steps makes them, and returns those that are done also with an error.
func (c *Control) steps(ctx context.Context, all []step) (done []sluice.Change, err error) {
	giving, taking := split(all)
	for _, some := range [][]step{giving, taking} {
		type begun struct {
			vif    sluice.VIF
			change sluice.Change
		}
		var under []begun
		var errs []error
		for _, s := range some {
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
	return c.begin(ctx, s.vif, seen, sluice.Change{By: s.by, At: now(), From: s.from, To: s.to, Undoes: s.undoes})
}
