package htb

import (
	"fmt"
	"strings"

	"sluice/linux/tc"
)

// Op is one step from what is in the kernel to what is to be.
type Op struct {
	Do      Verb
	Name    string // whose: a vif's key, a group's, or "" for the link's own
	Ifindex int    // of the vif's device
	Minor   uint16 // of the class
	Parent  uint16
	Class   tc.HTB
	Queue   tc.Queue // nil, with MakeQueue: the best that the kernel has
	Best    Queue
	Entry   Entry
}

// Verb is what an [Op] does.
type Verb string

// The verbs, in the order in which a direction is built and taken down.
const (
	MakeTree    Verb = "make the tree"    // IFB, set up, HTB and classifier: what is missing of them
	MakeClass   Verb = "make class"       // with a new minor
	ChangeClass Verb = "change class"     // live: what waits in it stays
	MakeQueue   Verb = "make queue"       //
	ChangeQueue Verb = "change queue"     //
	Lead        Verb = "lead"             // the vif's frames to the class: one update of the map
	Redirect    Verb = "redirect"         // the vif's frames to the IFB: clsact and filter
	Unredirect  Verb = "stop redirecting" //
	Unlead      Verb = "forget"           // the vif's line in the map
	DeleteClass Verb = "delete class"     //
)

// String is one line of a golden test, and of a log.
func (o Op) String() string {
	var b strings.Builder
	b.WriteString(string(o.Do))
	switch o.Do {
	case MakeClass, ChangeClass:
		fmt.Fprintf(&b, " %x under %x: %s", o.Minor, o.Parent, classText(o.Class))
	case MakeQueue, ChangeQueue:
		fmt.Fprintf(&b, " of %x", o.Minor)
		if o.Queue != nil {
			fmt.Fprintf(&b, ": %s", queueText(o.Queue))
		}
	case Lead:
		fmt.Fprintf(&b, " device %d to %x", o.Ifindex, o.Entry.Minor)
		if o.Entry.Local {
			b.WriteString(", local frames past it")
		}
	case Redirect, Unredirect, Unlead:
		fmt.Fprintf(&b, " device %d", o.Ifindex)
	case DeleteClass:
		fmt.Fprintf(&b, " %x", o.Minor)
	}
	if o.Name != "" {
		fmt.Fprintf(&b, " (%s)", o.Name)
	}
	return b.String()
}

func classText(h tc.HTB) string {
	s := fmt.Sprintf("rate %d ceil %d burst %d cburst %d", h.Rate, h.Ceil, h.Burst, h.Cburst)
	if h.RateOverhead.Bytes > 0 {
		s += fmt.Sprintf(" overhead %d", h.RateOverhead.Bytes)
	}
	if h.Quantum > 0 {
		s += fmt.Sprintf(" quantum %d prio %d", h.Quantum, h.Prio)
	}
	return s
}

func queueText(q tc.Queue) string {
	switch q := q.(type) {
	case tc.FIFO:
		return fmt.Sprintf("bfifo %d", q.Bytes)
	case tc.FQCodel:
		return fmt.Sprintf("fq_codel target %dus memory %d", q.Target, q.Memory)
	}
	return q.Kind()
}
