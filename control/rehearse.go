package control

import (
	"context"
	"slices"

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
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return sluice.Change{}, err
	}
	vifs := c.Inventory.VIFs()
	change.Effect = make([]sluice.Effect, len(vifs))
	for i, v := range vifs {
		change.Effect[i] = sluice.Effect{VM: v.VM, VIF: v.Index, Key: v.Key()}
	}
	demands := c.Demand()
	for _, d := range sluice.Directions {
		err := effect(d, c.Capacity().Get(d), change, nodes, func(key string) (sluice.Rate, bool) {
			r, known := demands[key]
			return r.Get(d), known
		})
		if err != nil {
			return sluice.Change{}, err
		}
	}
	return change, nil
}

// effect fills in one direction of the change's effect: what all get before
// and after if they want all they can get, and if they want what they do now.
func effect(d sluice.Direction, capacity sluice.Rate, change sluice.Change,
	nodes map[string]Node, demand func(key string) (sluice.Rate, bool)) error {
	share := func(now, after bool) ([]sluice.Rate, error) {
		value := func(key string) sluice.Allocations {
			n, set := nodes[key]
			switch {
			case after && key == change.Key:
				return change.To
			case set:
				return n.Value
			}
			return sluice.UnshapedBoth
		}
		var groups []allocate.Group
		index := map[string]int{"": allocate.Host, sluice.HostGroup: allocate.Host}
		keys := groupKeys(nodes)
		if after && !slices.Contains(keys, change.Key) {
			if _, ok := sluice.GroupOf(change.Key); ok {
				keys = append(keys, change.Key)
			}
		}
		for _, key := range keys {
			g, of := value(key), value(key).Get(d)
			name, _ := sluice.GroupOf(key)
			index[name] = len(groups)
			groups = append(groups, allocate.Group{Guarantee: of.Guarantee, Limit: of.Limit, Weight: of.Weight, Parent: index[g.Group]})
		}
		claims := make([]allocate.Claim, len(change.Effect))
		for i, e := range change.Effect {
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
		return allocate.Share(capacity, claims, groups)
	}
	var shares [4][]sluice.Rate
	for i := range shares {
		var err error
		if shares[i], err = share(i >= 2, i%2 == 1); err != nil {
			return err
		}
	}
	for i := range change.Effect {
		e := sluice.EffectDirection{Before: shares[0][i], After: shares[1][i]}
		if wants, known := demand(change.Effect[i].Key); known {
			e.Now = &sluice.EffectNow{Demand: wants, Before: shares[2][i], After: shares[3][i]}
		}
		if d == sluice.Tx {
			change.Effect[i].Tx = e
		} else {
			change.Effect[i].Rx = e
		}
	}
	return nil
}
