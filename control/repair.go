package control

import (
	"context"
	"time"

	"sluice"
)

// Repaired journals what the driver found in the kernel instead of what was
// set, and publishes the record. It is for [Driver]s that watch the kernel.
func (c *Control) Repaired(ctx context.Context, r sluice.Repair) {
	level, word := c.Log.Info, "repaired by sluice: "
	if !r.Enforced {
		level, word = c.Log.Warn, "not enforced: "
	}
	level("the kernel was not as set", "vif", r.Key, "enforced", r.Enforced, "what", r.Text)
	vif, _ := find(c.Inventory.VIFs(), r.Key)
	if r.Key == "" {
		vif = sluice.GroupVIF(sluice.HostGroup)
	}
	c.mu.Lock()
	node, set := c.nodes[r.Key]
	c.mu.Unlock()
	if !set {
		node.Value = sluice.UnshapedBoth
	}
	now := time.Now().UTC()
	record := sluice.Change{VM: vif.VM, VIF: vif.Index, Key: r.Key, Device: vif.Device, By: self, At: now, From: node.Value, To: node.Value,
		Result: sluice.Done, Verified: r.Enforced, States: []sluice.StateAt{{State: sluice.Connected, At: now}}, Note: word + r.Text}
	if err := c.Store.Note(ctx, &record); err != nil {
		c.Log.Warn("the journal lacks a record of that", "error", err)
		return
	}
	c.hub.publish(record)
}
