// Package control is the only way to change what a vif may use. It takes a
// request its whole way: locate the vif, check the value, write it into the
// device store and move the back-end's state from Connected to Reconfiguring,
// wait for the driver layer, journal, answer. The driver layer is here too:
// it wakes on Reconfiguring, whoever wrote it, has a [Driver] apply the value
// and read the kernel back, and restores Connected.
//
// The rule that everything here serves: at every moment, and after a crash at
// any moment and the next start, the kernel, the store and the journal all
// hold the new value, or all hold the old one.
package control

import (
	"context"
	"time"

	"sluice"
)

// Inventory knows which vifs exist now.
type Inventory interface {
	// VIFs returns every vif present, by VM name and index.
	VIFs() []sluice.VIF
	// Watch sends after every change of VIFs until ctx ends, then closes the
	// channel. A slow reader misses repetitions, never the last change.
	Watch(ctx context.Context) <-chan struct{}
}

// Driver makes a kernel enforce a whole state.
type Driver interface {
	// Set makes the kernel enforce want, and nothing else of ours, and reads it
	// back. It returns, by key, the vifs and groups that are not enforced as
	// wanted; all others are. The error is that of the whole. Set may be called
	// again with the same state, and takes the kernel back to an older one after
	// a failure. A failure's code is Unsupported when this host can never do it,
	// NotFound when the device has gone, else NotApplied.
	Set(ctx context.Context, want sluice.Effective) (failed map[string]error, err error)
}

// Node is one vif in the device store.
type Node struct {
	Value    sluice.Allocations // what is set; [sluice.UnshapedBoth] if nothing ever was
	State    sluice.State       // of the back-end
	Revision uint64             // grows with every write; 0 if nothing was ever set
	Change   uint64             // the change under way while State is Reconfiguring, else the last one
	Lease    Lease              // zero if the value that was last in force is to last
}

// Lease is that a value reverts by itself.
type Lease struct {
	Change uint64             `json:"change"` // the one that reverts
	Until  time.Time          `json:"until"`
	Back   sluice.Allocations `json:"back"` // to what
}

// Update is one write to a vif's node.
type Update struct {
	Key    string
	Node   Node
	Change sluice.Change // the record of Node.Change as of that write; its ID is 0 if only the node is known
}

// Store is the device store and the journal. What a method acknowledged
// survives kill -9 and power loss.
type Store interface {
	// Get returns the node of a vif's key. A key never set is Node{UnshapedBoth, Connected, 0, 0}.
	Get(ctx context.Context, key string) (Node, error)
	// Nodes returns all nodes that were ever set, by the vif's key.
	Nodes(ctx context.Context) (map[string]Node, error)
	// Begin gives c its ID, journals it as Pending, writes c.To into the node
	// of c.Key and moves the state from Connected to Reconfiguring, all or
	// nothing. It fails with Conflict when the node was seen in another state
	// than Connected, or is not as seen any more. An error that leaves c.ID 0
	// has written nothing; with an ID, the store may have.
	Begin(ctx context.Context, c *sluice.Change, seen Node) error
	// Finish journals the change's result and writes what [Node.After] says,
	// all or nothing. It fails with Conflict when the node was not
	// seen Reconfiguring for this change, or is not as seen any more; then
	// nothing was written.
	Finish(ctx context.Context, c sluice.Change, seen Node) error
	// Keep journals c, which was confirmed, and ends the node's lease, all or
	// nothing. It fails with Conflict when the node is not as seen any more.
	Keep(ctx context.Context, c sluice.Change, seen Node) error
	// Watch sends all nodes that were ever set, then every write to one,
	// until ctx ends or the store is closed, then closes the channel. After
	// an interruption it sends all nodes again.
	Watch(ctx context.Context) (<-chan Update, error)
	// Records returns what the vifs that were ever set are known by, by their IDs.
	Records(ctx context.Context) (map[string]sluice.VIF, error)
	// Record keeps what vifs are known by, all or nothing up to 100 of them.
	Record(ctx context.Context, vifs []sluice.VIF) error
	// Forget deletes a node and its record, and gives c its ID and journals it,
	// all or nothing. It fails with Conflict when the node is not as seen any more.
	Forget(ctx context.Context, c *sluice.Change, seen Node) error
	// Profiles returns the host's profiles; none have revision 0.
	Profiles(ctx context.Context) (sluice.Profiles, error)
	// PutProfiles keeps p instead of those with its revision, and gives it the
	// new one. It fails with Conflict where they are at another.
	PutProfiles(ctx context.Context, p *sluice.Profiles) error
	// Note gives c its ID and journals it. It changes no node.
	Note(ctx context.Context, c *sluice.Change) error
	// Change returns one journal record; NotFound if there is none.
	Change(ctx context.Context, id uint64) (sluice.Change, error)
	// Changes returns the newest records first, at most limit.
	Changes(ctx context.Context, limit int) ([]sluice.Change, error)
}

// Patch is what a request changes of one direction; nil fields stay as they are.
type Patch struct {
	Limit     *sluice.Rate `json:"limit,omitempty"`
	Guarantee *sluice.Rate `json:"guarantee,omitempty"`
	Weight    *int         `json:"weight,omitempty"`
	Priority  *int         `json:"priority,omitempty"`
}

// Request asks for a change.
type Request struct {
	VM       string  // see [Control.VM]; or a group's name after an @, and after two a VM's name that begins with one
	VIF      int     // the index of its interface
	Tx, Rx   *Patch  // nil: that direction stays as it is
	Group    *string // if set, the group to be in from now on; [sluice.HostGroup] for none
	Profile  *string // if set, the profile that it has whatever its name and description say; "" for none
	Reset    bool    // what was set for the vif itself is dropped first: its profile's values hold
	Delete   bool    // the group ceases to be
	Revision *uint64 // if set, the revision the asker saw; another one now is a Conflict
	By       string  // who asks, for the journal
	DryRun   bool    // check only; the answer is the change as it would be, with its Effect

	For     time.Duration // if not 0, the change reverts by itself after so long
	Confirm time.Duration // if not 0, it reverts after so long unless it is confirmed
}
