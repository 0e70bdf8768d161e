package sluice

import "time"

// Result is what became of a change.
type Result string

const (
	Pending Result = "pending" // requested, not yet finished
	Done    Result = "done"    // applied, and read back from the kernel
	Undone  Result = "undone"  // could not be applied; kernel and store hold the old value
)

// StateAt is one step of a change's way.
type StateAt struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
}

// Change is one request and all that became of it: the journal's record.
type Change struct {
	ID       uint64      `json:"id"`
	VM       string      `json:"vm"`
	VIF      int         `json:"vif"`
	Key      string      `json:"key"`    // [VIF.Key]: whose settings these are
	Device   string      `json:"device"` // where it was applied
	By       string      `json:"by"`     // who asked: "root", "uid 1000", "alice with the token", "undo of 7"
	At       time.Time   `json:"at"`     // when it was asked for
	From     Allocations `json:"from"`
	To       Allocations `json:"to"`
	Result   Result      `json:"result"`
	Verified bool        `json:"verified"` // the kernel was read back and said To
	States   []StateAt   `json:"states"`
	TookNS   int64       `json:"took_ns"` // from the request to the answer
	Error    string      `json:"error,omitempty"`
	Undoes   uint64      `json:"undoes,omitempty"` // the change this one takes back
	// Note is why the record is there, where nobody asked for a change: what was
	// found in the kernel instead of To, and what was done about it.
	Note string `json:"note,omitempty"`

	// Until is when the change reverts by itself, by a change of its own;
	// nil if it is to last.
	Until *time.Time `json:"until,omitempty"`
	// Back is what holds after Until: the last value that was to last.
	Back *Allocations `json:"back,omitempty"`
	// Confirm: it reverts only unless somebody confirms it before Until.
	Confirm     bool   `json:"confirm,omitempty"`
	ConfirmedBy string `json:"confirmed_by,omitempty"` // who did; it lasts since

	// Effect is what a dry run says that each vif would get; it is not journalled.
	Effect []Effect `json:"effect,omitempty"`
}

// Effect is what a change would do to one vif of the host.
type Effect struct {
	VM  string          `json:"vm"`
	VIF int             `json:"vif"`
	Key string          `json:"key"`
	Tx  EffectDirection `json:"tx"`
	Rx  EffectDirection `json:"rx"`
}

// EffectDirection is one direction of an [Effect], in bit/s; null is as much
// as there is, where nobody said what the link carries.
type EffectDirection struct {
	// What it gets if all vifs want all they can get.
	Before Rate `json:"before"`
	After  Rate `json:"after"`
	// What it would get if all want what they want now; nil where that is not known.
	Now *EffectNow `json:"now,omitempty"`
}

// EffectNow is a share under the demand that was measured last.
type EffectNow struct {
	Demand Rate `json:"demand"` // [Unlimited] of one that is held back: how much it would take is not known
	Before Rate `json:"before"`
	After  Rate `json:"after"`
}
