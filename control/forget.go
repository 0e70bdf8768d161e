package control

import (
	"context"
	"fmt"
	"time"

	"sluice"
)

// Forget drops what is kept for a VM that will not come back: for its vif with
// that index, or for all of them where index is nil. What it was guaranteed is
// free then. It returns the journal's records of that. It refuses for a vif
// that is there, and then has dropped nothing.
func (c *Control) Forget(ctx context.Context, vm string, index *int, by string) ([]sluice.Change, error) {
	its, err := c.VM(ctx, vm)
	if err != nil {
		return nil, err
	}
	var gone []sluice.VIF
	var here *sluice.VIF
	for _, v := range its {
		switch {
		case index != nil && v.Index != *index && v.ID != vm:
		case v.Device == "":
			gone = append(gone, v)
		default:
			here = &v
		}
	}
	if len(gone) == 0 && here != nil {
		return nil, &sluice.Error{Code: sluice.Refused, Message: fmt.Sprintf("%s is here, on device %s: only what is kept for absent VMs is forgotten", here, here.Device),
			Unchanged: "nothing was changed", Try: fmt.Sprintf("sluice set %s %d unlimited lifts its limit", here.VM, here.Index)}
	}
	if len(gone) == 0 {
		return nil, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no vif %d; it has %s", its[0].VM, *index, indices(its)), Unchanged: "nothing was changed"}
	}
	c.admission.Lock() // what is free must not change while others count it
	defer c.admission.Unlock()
	var done []sluice.Change
	for _, v := range gone {
		record, err := c.forgetOne(ctx, v, by)
		if err != nil {
			return done, err
		}
		done = append(done, record)
	}
	return done, nil
}

func (c *Control) forgetOne(ctx context.Context, v sluice.VIF, by string) (sluice.Change, error) {
	seen, err := c.Store.Get(ctx, v.ID)
	if err != nil {
		return sluice.Change{}, err
	}
	if seen.State != sluice.Connected {
		return sluice.Change{}, c.conflict(ctx, v)
	}
	now := time.Now().UTC()
	record := sluice.Change{VM: v.VM, VIF: v.Index, Key: v.ID, By: by, At: now, From: seen.Value, To: sluice.UnshapedBoth,
		Result: sluice.Done, States: []sluice.StateAt{{State: sluice.Connected, At: now}}, Note: "forgotten: it is absent, and what was kept for it is dropped"}
	if err := c.Store.Forget(ctx, &record, seen); err != nil {
		return sluice.Change{}, err
	}
	c.census.forget(v.ID)
	c.mu.Lock()
	delete(c.nodes, v.ID)
	c.mu.Unlock()
	c.hub.publish(record)
	select {
	case c.resized <- struct{}{}: // it may have been the last that shared, and others may lack what it held
	default:
	}
	return record, nil
}

// Absent is what is kept of vifs that are not there, by VM name and index.
func (c *Control) Absent(ctx context.Context) ([]sluice.VIFStatus, error) {
	if err := c.census.load(ctx); err != nil {
		return nil, err
	}
	nodes, err := c.Store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var all []sluice.VIFStatus
	for _, v := range c.census.absent() {
		n, set := nodes[v.ID]
		if !set {
			continue // a twin that nobody set
		}
		all = append(all, sluice.VIFStatus{VIF: v, Absent: true, State: n.State, Revision: n.Revision, Group: n.Value.Group, Profile: n.Value.Profile, Own: n.Value.Set(),
			Tx: sluice.DirectionStatus{}.With(n.Value.Tx), Rx: sluice.DirectionStatus{}.With(n.Value.Rx)})
	}
	return all, nil
}
