package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice"
)

// promise is what a vif or a group holds of what it is in, in one direction.
type promise struct {
	key  string
	rate sluice.Rate
}

// raises says whether a change promises more than holds already.
func raises(c sluice.Change) bool {
	return c.To.Tx.Guarantee > c.From.Tx.Guarantee || c.To.Rx.Guarantee > c.From.Rx.Guarantee
}

// admit refuses a change that promises more than there is: of the link, or of
// a group's guarantee.
func (c *Control) admit(ctx context.Context, nodes map[string]Node, vif sluice.VIF, seen Node, change sluice.Change) error {
	if !raises(change) && !moves(vif, change) {
		return nil
	}
	within := level(change.To)
	for _, d := range sluice.Directions {
		if err := c.covers(ctx, d, vif, nodes, change); err != nil {
			return err
		}
		asked, had := change.To.Get(d).Guarantee, sluice.Rate(0)
		if level(change.From) == within {
			had = change.From.Get(d).Guarantee
		}
		if seen.Lease.Change != 0 && level(seen.Lease.Back) == within {
			had = max(had, seen.Lease.Back.Get(d).Guarantee)
		}
		budget := c.budget(d, within, nodes)
		if asked <= had || budget == sluice.Unlimited {
			continue
		}
		promises, err := c.promises(ctx, d, nodes, change.Key, within)
		if err != nil {
			return err
		}
		if asked > budget-min(sum(promises), budget) {
			return c.tooMuch(d, vif, asked, budget, promises, change)
		}
	}
	return nil
}

// covers refuses that a group's guarantee becomes less than its members'.
func (c *Control) covers(ctx context.Context, d sluice.Direction, vif sluice.VIF, nodes map[string]Node, change sluice.Change) error {
	to := change.To.Get(d).Guarantee
	if !vif.IsGroup() || to >= change.From.Get(d).Guarantee {
		return nil
	}
	name, _ := sluice.GroupOf(vif.Key())
	promises, err := c.promises(ctx, d, nodes, "", name)
	if err != nil {
		return err
	}
	if total := sum(promises); to < total {
		return &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, change.From),
			Message: fmt.Sprintf("%s guarantee %s for %s is less than the %s of its members: %s", d, to, vif, total, c.held(promises)),
			Try:     fmt.Sprintf("at least %s, or lower theirs by %s first", total, total-to)}
	}
	return nil
}

// budget is what of a link or of a group's guarantee may be promised. Of a
// group's that will come back it is the least that it may be.
func (c *Control) budget(d sluice.Direction, group string, nodes map[string]Node) sluice.Rate {
	if group == sluice.HostGroup {
		return c.promisable(c.Capacity().Get(d))
	}
	n := nodes[sluice.GroupVIF(group).Key()]
	rate := n.Value.Get(d).Guarantee
	if n.Lease.Change != 0 {
		rate = min(rate, n.Lease.Back.Get(d).Guarantee)
	}
	return rate
}

// promisable is a link less the reserve.
func (c *Control) promisable(link sluice.Rate) sluice.Rate {
	if link == sluice.Unlimited {
		return link
	}
	return link - link/100*sluice.Rate(c.Reserve) - link%100*sluice.Rate(c.Reserve)/100
}

// promises are what all in a group but one hold of it, most first, whether
// their VMs run or not: they hold also what they may go back to.
func (c *Control) promises(ctx context.Context, d sluice.Direction, nodes map[string]Node, but, group string) ([]promise, error) {
	var all []promise
	for key, n := range nodes {
		if key == but {
			continue
		}
		rate := sluice.Rate(0)
		hold := func(a sluice.Allocations) {
			if level(a) == group {
				rate = max(rate, a.Get(d).Guarantee)
			}
		}
		hold(n.Value)
		if n.Lease.Change != 0 {
			hold(n.Lease.Back)
		}
		if n.State == sluice.Reconfiguring {
			change, err := c.Store.Change(ctx, n.Change)
			if err != nil {
				return nil, err
			}
			hold(change.From)
		}
		if rate > 0 {
			all = append(all, promise{key, rate})
		}
	}
	slices.SortFunc(all, func(a, b promise) int { return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.key, b.key)) })
	return all, nil
}

func sum(promises []promise) (total sluice.Rate) {
	for _, p := range promises {
		total += p.rate // each at most MaxRate: it takes 184,000 of them to wrap
	}
	return total
}

// tooMuch says what is free, who holds how much, and what would fit.
func (c *Control) tooMuch(d sluice.Direction, vif sluice.VIF, asked, budget sluice.Rate, promises []promise, change sluice.Change) error {
	held := sum(promises)
	free := budget - min(held, budget)
	within, link := level(change.To), c.Capacity().Get(d)
	of := fmt.Sprintf("the link's %s", link)
	switch {
	case within != sluice.HostGroup:
		of = fmt.Sprintf("group %s's %s", within, budget)
	case c.Reserve > 0:
		of = fmt.Sprintf("%s, the link's %s less a reserve of %d %%", budget, link, c.Reserve)
	}
	e := &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, change.From),
		Message: fmt.Sprintf("%s guarantee %s for %s does not fit: %s is free of %s; %s", d, asked, vif, free, of, c.held(promises)),
		Try:     fmt.Sprintf("a guarantee of at most %s", free)}
	switch {
	case within != sluice.HostGroup:
		e.Try += fmt.Sprintf(", or one of at least %s for group %s first", held+asked, within)
	case free == 0:
		e.Try = fmt.Sprintf("lower another's guarantee by %s first", asked)
	}
	return e
}

// held says who holds how much.
func (c *Control) held(promises []promise) string {
	const few = 8
	if len(promises) == 0 {
		return "nobody holds any"
	}
	vifs := c.Inventory.VIFs()
	var words []string
	for i, p := range promises {
		if i == few {
			words = append(words, fmt.Sprintf("%d more hold %s", len(promises)-few, sum(promises[few:])))
			break
		}
		name := p.key + " (not here now)"
		if v, present := find(vifs, p.key); present {
			name = v.String()
		}
		words = append(words, fmt.Sprintf("%s holds %s", name, p.rate))
	}
	return strings.Join(words, ", ")
}
