package control

import (
	"context"
	"fmt"

	"sluice"
)

// Undo takes a change back, in the directions that it changed, by a change of
// its own. It refuses where a newer change has since set something else.
func (c *Control) Undo(ctx context.Context, id uint64, by string) (sluice.Change, error) {
	asked := now()
	old, err := c.Store.Change(ctx, id)
	if err != nil {
		return sluice.Change{}, err
	}
	if old.Note != "" {
		return sluice.Change{}, isNote(old)
	}
	if old.Result != sluice.Done {
		return sluice.Change{}, &sluice.Error{Code: sluice.Refused,
			Message: fmt.Sprintf("change %d of %s is %s", id, sluice.VIF{VM: old.VM, Index: old.VIF}, old.Result), Try: "only a change that is done can be undone"}
	}
	vif, ok, err := c.find(ctx, old.Key)
	if err != nil {
		return sluice.Change{}, err
	}
	if !ok {
		return sluice.Change{}, &sluice.Error{Code: sluice.NotFound, Unchanged: "nothing was changed",
			Message: fmt.Sprintf("%s, which change %d set, was forgotten since", sluice.VIF{VM: old.VM, Index: old.VIF}, id)}
	}
	seen, err := c.Store.Get(ctx, old.Key)
	if err != nil {
		return sluice.Change{}, err
	}
	to := seen.Value
	if old.From.Tx != old.To.Tx {
		to.Tx = old.From.Tx
	}
	if old.From.Rx != old.To.Rx {
		to.Rx = old.From.Rx
	}
	if old.From.Group != old.To.Group {
		to.Group = old.From.Group
	}
	if old.From.Profile != old.To.Profile {
		to.Profile = old.From.Profile
	}
	differs := old.From.Own ^ old.To.Own
	to.Own = to.Own&^differs | old.From.Own&differs
	if old.From.Tx != old.To.Tx && seen.Value.Tx != old.To.Tx || old.From.Rx != old.To.Rx && seen.Value.Rx != old.To.Rx ||
		old.From.Group != old.To.Group && seen.Value.Group != old.To.Group {
		return sluice.Change{}, &sluice.Error{Code: sluice.Conflict,
			Message:   fmt.Sprintf("%s was set anew since change %d, lastly by %s", vif, id, c.last(ctx, seen)),
			Unchanged: keeps(vif, seen.Value),
			Try:       fmt.Sprintf("undo %d first, or set what you want", seen.Change)}
	}
	profiles, err := c.Profiles(ctx)
	if err != nil {
		return sluice.Change{}, err
	}
	if !vif.IsGroup() && to != seen.Value && profiles.Resolve(vif, to) == seen.Value {
		return sluice.Change{}, &sluice.Error{Code: sluice.Refused, Unchanged: keeps(vif, seen.Value),
			Message: fmt.Sprintf("change %d is what profile %s says, and would be made again at once", id, seen.Value.Profile),
			Try:     "change the profile, give the vif another, or set what it is to have itself"}
	}
	change := sluice.Change{By: by, At: asked, From: seen.Value, To: to, Undoes: id}
	return c.carry(ctx, vif, seen, change, false)
}
