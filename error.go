package sluice

import (
	"errors"
	"strings"
)

// Code says what kind of failure an [Error] is. Each maps to exactly one exit
// status of the command line ([Code.ExitStatus]) and one HTTP status (package http).
type Code string

const (
	Invalid     Code = "invalid"     // the request itself is wrong: syntax, range, flags
	NotFound    Code = "not_found"   // no such VM, vif or change
	Refused     Code = "refused"     // understood, but it does not fit: admission
	Unknown     Code = "unknown"     // nobody knows who asks: the token is missing or wrong
	Forbidden   Code = "forbidden"   // who asks is known, and may not
	Conflict    Code = "conflict"    // somebody else changed it first, or is changing it now
	NotApplied  Code = "not_applied" // the driver could not apply it; it was undone
	Unsupported Code = "unsupported" // this kernel, host or driver cannot do it
	Unavailable Code = "unavailable" // the daemon, the store or the VM cannot be reached
	Internal    Code = "internal"    // a fault of ours
)

// ExitStatus is the command line's exit status for the code.
func (c Code) ExitStatus() int {
	switch c {
	case Invalid:
		return 2
	case NotFound:
		return 3
	case Refused, Unknown, Forbidden, Conflict:
		return 4
	case NotApplied, Unsupported:
		return 5
	case Unavailable:
		return 6
	}
	return 1
}

// Error is a failure told to a person: what was wrong, what was left as it
// was, and what to try. Every package of Sluice returns it at its edge;
// errors from below are wrapped once, in Err.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`             // what was wrong, with the names and values involved
	Unchanged string `json:"unchanged,omitempty"` // what stayed as it was, a clause: "web vif 0 keeps 100mbit"
	Try       string `json:"try,omitempty"`       // what to do about it, an imperative: "run sluice list"
	Err       error  `json:"-"`                   // the cause, for errors.Is and the log
}

// Error is the whole message in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Unchanged != "" {
		b.WriteString("; ")
		b.WriteString(e.Unchanged)
	}
	if e.Try != "" {
		b.WriteString(" (try: ")
		b.WriteString(e.Try)
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the code of the first [Error] in err's chain: [Internal] for an
// error without one, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
