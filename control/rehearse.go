package control

import (
	"context"
	"maps"

	"sluice"
	"sluice/allocate"
)

// rehearse is a change that is only checked, and what it would do to every
// vif of the host.
func (c *Control) rehearse(ctx context.Context, vif sluice.VIF, seen Node, change sluice.Change) (sluice.Change, error) {
	change, err := c.check(ctx, vif, seen, change)
	if err != nil {
		return sluice.Change{}, err
	}
	change.Effect, err = c.effects(ctx, map[string]sluice.Allocations{change.Key: change.To})
	return change, err
}

// rehearseAll is that of many that are checked already, on the last of them.
func (c *Control) rehearseAll(ctx context.Context, steps []step) ([]sluice.Change, error) {
	changes, to := make([]sluice.Change, len(steps)), make(map[string]sluice.Allocations, len(steps))
	for i, s := range steps {
		changes[i] = sluice.Change{VM: s.vif.VM, VIF: s.vif.Index, Key: s.vif.Key(), Device: s.vif.Device, By: s.by, At: now(),
			From: s.from, To: s.to, Until: s.until, Back: s.back, Confirm: s.confirm, Result: sluice.Pending}
		to[s.vif.Key()] = s.to
	}
	var err error
	changes[len(changes)-1].Effect, err = c.effects(ctx, to)
	return changes, err
}

// effects are what new values would do to every vif of the host.
func (c *Control) effects(ctx context.Context, to map[string]sluice.Allocations) ([]sluice.Effect, error) {
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	vifs := c.Inventory.VIFs()
	all := make([]sluice.Effect, len(vifs))
	for i, v := range vifs {
		all[i] = sluice.Effect{VM: v.VM, VIF: v.Index, Key: v.Key()}
	}
	demands := c.Demand()
	for _, d := range sluice.Directions {
		err := effect(d, c.Capacity().Get(d), all, to, nodes, func(key string) (sluice.Rate, bool) {
			r, known := demands[key]
			return r.Get(d), known
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// effect fills in one direction: what all get before and after if they want
// all they can get, and if they want what they do now.
func effect(d sluice.Direction, capacity sluice.Rate, all []sluice.Effect, to map[string]sluice.Allocations,
	nodes map[string]Node, demand func(key string) (sluice.Rate, bool)) error {
	share := func(now, after bool) ([]sluice.Rate, error) {
		value := func(key string) sluice.Allocations {
			n, set := nodes[key]
			then, changes := to[key]
			switch {
			case after && changes:
				return then
			case set:
				return n.Value
			}
			return sluice.UnshapedBoth
		}
		var groups []allocate.Group
		index := map[string]int{"": allocate.Host, sluice.HostGroup: allocate.Host}
		have := nodes
		if after {
			have = maps.Clone(nodes)
			for key, then := range to {
				have[key] = Node{Value: then}
			}
		}
		for _, key := range groupKeys(have) {
			g, of := value(key), value(key).Get(d)
			name, _ := sluice.GroupOf(key)
			index[name] = len(groups)
			groups = append(groups, allocate.Group{Guarantee: of.Guarantee, Limit: of.Limit, Weight: of.Weight, Parent: index[g.Group]})
		}
		claims := make([]allocate.Claim, len(all))
		for i, e := range all {
			a := value(e.Key).Get(d)
			claims[i] = allocate.Claim{Guarantee: a.Guarantee, Limit: a.Limit, Weight: a.Weight, Demand: sluice.Unlimited, Group: index[value(e.Key).Group]}
			if wants, known := demand(e.Key); now && known {
				claims[i].Demand = wants
			}
		}
		if capacity == sluice.Unlimited && len(groups) == 0 {
			grants := make([]sluice.Rate, len(claims))
			for i, c := range claims {
				grants[i] = min(c.Limit, c.Demand)
			}
			return grants, nil
		}
		grants, err := allocate.Share(capacity, claims, groups)
		for i, r := range grants {
			if r > sluice.MaxRate { // of a link that nobody said the capacity of
				grants[i] = sluice.Unlimited
			}
		}
		return grants, err
	}
	var shares [4][]sluice.Rate
	for i := range shares {
		var err error
		if shares[i], err = share(i >= 2, i%2 == 1); err != nil {
			return err
		}
	}
	for i := range all {
		e := sluice.EffectDirection{Before: shares[0][i], After: shares[1][i]}
		if wants, known := demand(all[i].Key); known {
			e.Now = &sluice.EffectNow{Demand: wants, Before: shares[2][i], After: shares[3][i]}
		}
		if d == sluice.Tx {
			all[i].Tx = e
		} else {
			all[i].Rx = e
		}
	}
	return nil
}
