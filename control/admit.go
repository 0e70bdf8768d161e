package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice"
)

// holding is a vif's or a group's guarantee of what it is in, in one direction.
type holding struct {
	key  string
	rate sluice.Rate
}

// raises says whether a change guarantees more than holds already.
func raises(c sluice.Change) bool {
	return c.To.Tx.Guarantee > c.From.Tx.Guarantee || c.To.Rx.Guarantee > c.From.Rx.Guarantee
}

// shortage is a guarantee in one direction that does not fit.
type shortage struct {
	d        sluice.Direction
	asked    sluice.Rate
	most     sluice.Rate // that would be accepted
	budget   sluice.Rate
	holdings []holding // what others hold of it
}

// admit refuses a change that guarantees more than there is: of the link, or of
// a group's guarantee. If both directions have too little it speaks of the one
// that has least, so that what it says would fit, fits both.
func (c *Control) admit(ctx context.Context, nodes map[string]Node, vif sluice.VIF, seen Node, change sluice.Change) error {
	if !raises(change) && !moves(vif, change) {
		return nil
	}
	if err := c.covers(ctx, vif, nodes, change); err != nil {
		return err
	}
	within := level(change.To)
	var least *shortage
	for _, d := range sluice.Directions {
		asked, had := change.To.Get(d).Guarantee, sluice.Rate(0)
		if level(change.From) == within {
			had = change.From.Get(d).Guarantee
		}
		if seen.Lease.Change != 0 && level(seen.Lease.Back) == within {
			had = max(had, seen.Lease.Back.Get(d).Guarantee)
		}
		budget := c.budget(d, within, nodes)
		if asked <= had {
			continue
		}
		if budget == sluice.Unlimited {
			return &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, change.From),
				Message: fmt.Sprintf("%s guarantee %s for %s cannot be held: nobody said what the link carries", d, asked, vif),
				Try:     "sluice capacity RATE first, or capacity = \"RATE\" in the settings file"}
		}
		holdings, err := c.holdings(ctx, d, nodes, change.Key, within)
		if err != nil {
			return err
		}
		most := max(budget-min(sum(holdings), budget), had)
		if asked > most && (least == nil || most < least.most) {
			least = &shortage{d, asked, most, budget, holdings}
		}
	}
	if least == nil {
		return nil
	}
	return c.tooMuch(ctx, nodes, vif, *least, change)
}

// covers refuses that a group's guarantee becomes less than its members', and
// speaks of the direction in which they have most.
func (c *Control) covers(ctx context.Context, vif sluice.VIF, nodes map[string]Node, change sluice.Change) (refusal error) {
	name, isGroup := sluice.GroupOf(vif.Key())
	most := sluice.Rate(0)
	for _, d := range sluice.Directions {
		to := change.To.Get(d).Guarantee
		if !isGroup || to >= change.From.Get(d).Guarantee {
			continue
		}
		holdings, err := c.holdings(ctx, d, nodes, "", name)
		if err != nil {
			return err
		}
		if total := sum(holdings); to < total && total > most {
			most = total
			refusal = &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, change.From),
				Message: fmt.Sprintf("%s guarantee %s for %s is less than the %s of its members: %s", d, to, vif, total, c.held(holdings)),
				Try:     fmt.Sprintf("at least %s, or lower theirs by %s first", total, total-to)}
		}
	}
	return refusal
}

// budget is what of a link or of a group's guarantee its members may hold. Of a
// group's that will revert it is the least that it may be.
func (c *Control) budget(d sluice.Direction, group string, nodes map[string]Node) sluice.Rate {
	if group == sluice.HostGroup {
		return c.available(c.Capacity().Get(d))
	}
	n := nodes[sluice.GroupVIF(group).Key()]
	rate := n.Value.Get(d).Guarantee
	if n.Lease.Change != 0 {
		rate = min(rate, n.Lease.Back.Get(d).Guarantee)
	}
	return rate
}

// available is a link less the reserve.
func (c *Control) available(link sluice.Rate) sluice.Rate {
	return available(link, int(c.reserve.Load()))
}

// holdings are what all in a group but one hold of it, most first, whether
// their VMs run or not: they hold also what they may revert to.
func (c *Control) holdings(ctx context.Context, d sluice.Direction, nodes map[string]Node, but, group string) ([]holding, error) {
	var all []holding
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
			all = append(all, holding{key, rate})
		}
	}
	slices.SortFunc(all, func(a, b holding) int { return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.key, b.key)) })
	return all, nil
}

func sum(holdings []holding) (total sluice.Rate) {
	for _, p := range holdings {
		total += p.rate // each at most MaxRate: it takes 184,000 of them to wrap
	}
	return total
}

// tooMuch says what is free, who holds how much, and what would be accepted.
func (c *Control) tooMuch(ctx context.Context, nodes map[string]Node, vif sluice.VIF, s shortage, change sluice.Change) error {
	held := sum(s.holdings)
	within, link := level(change.To), c.Capacity().Get(s.d)
	of := fmt.Sprintf("the link's %s", link)
	switch {
	case within != sluice.HostGroup:
		of = fmt.Sprintf("group %s's %s", within, s.budget)
	case c.reserve.Load() > 0:
		of = fmt.Sprintf("%s, the link's %s less a reserve of %d %%", s.budget, link, c.reserve.Load())
	}
	var tries []string
	if most := min(s.most, change.To.Get(s.d).Limit); most > 0 {
		tries = append(tries, fmt.Sprintf("a guarantee of at most %s", most))
	}
	room, enough, err := c.roomIn(ctx, s.d, nodes, within, held+s.asked)
	switch {
	case err != nil:
		return err
	case enough:
		tries = append(tries, "first: "+strings.Join(room, ", then: "))
	case len(tries) > 0:
	case s.asked <= s.budget:
		tries = append(tries, fmt.Sprintf("lower another's guarantee by %s first", held+s.asked-s.budget))
	default:
		tries = append(tries, fmt.Sprintf("lower others' guarantees first; %s is the most that can be", s.budget))
	}
	return &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, change.From),
		Message: fmt.Sprintf("%s guarantee %s for %s does not fit: %s is free of %s; %s", s.d, s.asked, vif,
			s.budget-min(held, s.budget), of, c.held(s.holdings)),
		Try: strings.Join(tries, ", or ")}
}

// roomIn are the commands after which so much of a group's guarantee may be
// guaranteed, those for the groups around it first; enough is false where none
// would do, for the link has no more or a limit is in the way.
func (c *Control) roomIn(ctx context.Context, d sluice.Direction, nodes map[string]Node, group string, need sluice.Rate) (first []string, enough bool, err error) {
	if need <= c.budget(d, group, nodes) {
		return nil, true, nil
	}
	key := sluice.GroupVIF(group).Key()
	n := nodes[key].Value
	if group == sluice.HostGroup || need > n.Get(d).Limit {
		return nil, false, nil
	}
	others, err := c.holdings(ctx, d, nodes, key, level(n))
	if err != nil {
		return nil, false, err
	}
	first, enough, err = c.roomIn(ctx, d, nodes, level(n), sum(others)+need)
	return append(first, fmt.Sprintf("sluice group set %s --%s --guarantee %s", group, d, need)), enough, err
}

// held says who holds how much.
func (c *Control) held(holdings []holding) string {
	const few = 8
	if len(holdings) == 0 {
		return "nobody holds any"
	}
	var words []string
	for i, p := range holdings {
		if i == few {
			words = append(words, fmt.Sprintf("%d more hold %s", len(holdings)-few, sum(holdings[few:])))
			break
		}
		words = append(words, fmt.Sprintf("%s holds %s", c.called(p.key), p.rate))
	}
	return strings.Join(words, ", ")
}
