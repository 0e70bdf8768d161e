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
	By       string      `json:"by"`     // who asked: "root", "uid 1000", "token", "undo of 7"
	At       time.Time   `json:"at"`     // when it was asked for
	From     Allocations `json:"from"`
	To       Allocations `json:"to"`
	Result   Result      `json:"result"`
	Verified bool        `json:"verified"` // the kernel was read back and said To
	States   []StateAt   `json:"states"`
	TookNS   int64       `json:"took_ns"` // from the request to the answer
	Error    string      `json:"error,omitempty"`
	Undoes   uint64      `json:"undoes,omitempty"` // the change this one takes back
}
