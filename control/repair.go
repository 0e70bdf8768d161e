package control

import (
	"context"
	"fmt"
	"strings"
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
	vif, known, err := c.find(ctx, r.Key)
	switch {
	case r.Key == "":
		vif = sluice.GroupVIF(sluice.HostGroup)
	case err != nil || !known: // it has just gone; the key begins with its VM
		vif.VM, _, _ = strings.Cut(r.Key, "/")
	}
	node := Node{Value: sluice.UnshapedBoth}
	if r.Key != "" {
		if node, err = c.Store.Get(ctx, r.Key); err != nil {
			c.Log.Warn("the journal lacks a record of that", "error", err)
			return
		}
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

// isNote refuses to take back or to keep a record that changed no setting.
func isNote(record sluice.Change) error {
	return &sluice.Error{Code: sluice.Refused, Unchanged: "nothing was changed", Try: "sluice changes, for one that did",
		Message: fmt.Sprintf("record %d of %s says what was found in the kernel, and changed no setting", record.ID, sluice.VIF{VM: record.VM, Index: record.VIF})}
}
