package htb

import (
	"fmt"
	"strings"

	"sluice"
	"sluice/linux/tc"
)

const (
	// major is of both HTBs.
	major = 0x51ce
	// rootMinor is the class that all others borrow from.
	rootMinor = 1
	// firstMinor is the first that a vif or a group may have.
	firstMinor = 0x10
	// lastMinor leaves out ffff, which tc uses for "none".
	lastMinor = 0xfffe
)

func handleOf(minor uint16) tc.Handle { return tc.NewHandle(major, minor) }

// queueHandle is a leaf qdisc's own, made from the class so that it is the
// same at every start.
func queueHandle(class uint16) tc.Handle { return tc.NewHandle(class, 0) }

// Kernel is one direction as it is.
type Kernel struct {
	IFB        int  // the index of the device that the tree is on; 0 if there is none
	Up         bool // the device
	HTB        bool // the device's root qdisc is ours
	Classifier bool // the program that chooses the class is there, and ours
	Taken      bool // a filter on the IFB's own egress hook drops frames or takes them elsewhere
	Classes    map[uint16]tc.Class
	Queues     map[uint16]tc.Qdisc // by their classes' minors
	Map        map[int]Entry       // by the vif's ifindex
	Hooks      map[int]Hook        // by ifindex: of every device with something of ours, or looked at
	Plain      bool                // the kernel has no fq_codel
}

// sends says whether what waits in the classes is sent.
func (k Kernel) sends() bool { return k.IFB != 0 && k.Up && k.HTB }

// whole says whether a frame that is redirected to the tree comes through its
// vif's class.
func (k Kernel) whole() bool { return k.sends() && k.Classifier && !k.Taken }

// Entry is a vif's line in the map from devices to classes.
type Entry struct {
	Minor uint16
	Local bool // see [Node]
}

// Hook is what is on a device's hook for a direction.
type Hook struct {
	Clsact  bool
	Ingress bool // an ingress qdisc of another program stands where a clsact would
	// Ours: a filter of ours is there. Current: it is as it is to be, and leads
	// to the IFB that there is.
	Ours, Current bool
	Made          bool // the clsact is of our making
	// Class is what an older arrangement's filter leads to; 0 if ours is not such.
	Class uint16
	// Before are other programs' filters that run before ours and may end the
	// pipeline, in words.
	Before []string
	// Others: another program uses the clsact.
	Others bool
}

const (
	filterPref     = 65520 // the last but few, so that everybody else's run first
	filterName     = "sluice-"
	clsactMade     = "-clsact"
	classifierPref = 1
	classifierName = "sluice-class"
)

// hookName is the name of a direction's filter on a vif.
func hookName(d sluice.Direction, made bool) string {
	name := filterName + string(d)
	if made {
		name += clsactMade
	}
	return name
}

// recognise reads a filter's name: whether it is ours, whether the clsact was
// made for it, and the class that it led to where the program on each vif set
// skb->priority ("sluice-tx-51ce:0010").
func recognise(f tc.Filter, d sluice.Direction) (ours, made bool, class uint16) {
	rest, ok := strings.CutPrefix(f.BPF.Name, filterName+string(d))
	if !ok || f.Pref != filterPref || f.Kind != tc.BPFKind {
		return false, false, 0
	}
	rest, made = strings.CutSuffix(rest, clsactMade)
	if rest == "" {
		return true, made, 0
	}
	var maj uint16
	if n, err := fmt.Sscanf(rest, "-%x:%x", &maj, &class); n != 2 || err != nil || maj != major {
		return false, false, 0
	}
	return true, made, class
}

// ends says in words how another program's filter may end the pipeline before
// ours is asked; "" if it cannot. Only a filter whose matches all go on, or
// are dropped, cannot.
func ends(f tc.Filter) string {
	who := fmt.Sprintf("a %s filter of preference %d", f.Kind, f.Pref)
	if f.BPF.Name != "" {
		who += " (" + f.BPF.Name + ")"
	}
	if f.BPF.DirectAction {
		return who + " whose program may pass frames"
	}
	if len(f.Actions) == 0 {
		return who + " without an action, which passes what it matches"
	}
	// The first that does not hand over to the next decides; after the last,
	// "pipe" passes.
	one := f.Actions[0]
	for _, next := range f.Actions[1:] {
		if one.Verdict != tc.Pipe {
			break
		}
		one = next
	}
	switch one.Verdict {
	case tc.Continue, tc.Drop:
		return ""
	case tc.Stolen:
		return fmt.Sprintf("%s whose %s takes what it matches elsewhere", who, one.Kind)
	}
	return fmt.Sprintf("%s whose %s passes what it matches", who, one.Kind)
}
