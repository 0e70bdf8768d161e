package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice"
)

// promise is what a vif holds of the link, in one direction.
type promise struct {
	key  string
	rate sluice.Rate
}

// raises says whether a change promises more than holds already.
func raises(c sluice.Change) bool {
	return c.To.Tx.Guarantee > c.From.Tx.Guarantee || c.To.Rx.Guarantee > c.From.Rx.Guarantee
}

// admit refuses a change that promises more than the link has. Whoever goes
// on to begin the change holds c.admission.
func (c *Control) admit(ctx context.Context, vif sluice.VIF, seen Node, change sluice.Change) error {
	if !raises(change) {
		return nil
	}
	capacity := c.Capacity()
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, d := range sluice.Directions {
		asked, had := change.To.Get(d).Guarantee, change.From.Get(d).Guarantee
		if seen.Lease.Change != 0 {
			had = max(had, seen.Lease.Back.Get(d).Guarantee)
		}
		link := capacity.Get(d)
		if asked <= had || link == sluice.Unlimited {
			continue
		}
		promises, err := c.promises(ctx, d, nodes, change.Key)
		if err != nil {
			return err
		}
		if budget := c.budget(link); asked > budget-min(sum(promises), budget) {
			return c.tooMuch(d, vif, asked, link, promises, change)
		}
	}
	return nil
}

// budget is what of a link may be promised.
func (c *Control) budget(link sluice.Rate) sluice.Rate {
	return link - link/100*sluice.Rate(c.Reserve) - link%100*sluice.Rate(c.Reserve)/100
}

// promises are what all vifs but one hold, most first, whether their VMs run
// or not: they hold also what they may go back to.
func (c *Control) promises(ctx context.Context, d sluice.Direction, nodes map[string]Node, but string) ([]promise, error) {
	var all []promise
	for key, n := range nodes {
		rate := n.Value.Get(d).Guarantee
		if n.Lease.Change != 0 {
			rate = max(rate, n.Lease.Back.Get(d).Guarantee)
		}
		if key == but {
			continue
		}
		if n.State == sluice.Reconfiguring {
			change, err := c.Store.Change(ctx, n.Change)
			if err != nil {
				return nil, err
			}
			rate = max(rate, change.From.Get(d).Guarantee)
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
func (c *Control) tooMuch(d sluice.Direction, vif sluice.VIF, asked, link sluice.Rate, promises []promise, change sluice.Change) error {
	budget := c.budget(link)
	free := budget - min(sum(promises), budget)
	of := fmt.Sprintf("the link's %s", link)
	if c.Reserve > 0 {
		of = fmt.Sprintf("%s, the link's %s less a reserve of %d %%", budget, link, c.Reserve)
	}
	e := &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, change.From),
		Message: fmt.Sprintf("%s guarantee %s for %s does not fit: %s is free of %s; %s", d, asked, vif, free, of, c.held(promises)),
		Try:     fmt.Sprintf("a guarantee of at most %s", free)}
	if free == 0 {
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
