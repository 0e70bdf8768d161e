package sluice

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Fields are some of the settings of a vif: a set.
type Fields uint16

const (
	TxLimit Fields = 1 << iota
	TxGuarantee
	TxWeight
	TxPriority
	RxLimit
	RxGuarantee
	RxWeight
	RxPriority
	InGroup   // the group
	ByProfile // the profile, which was chosen for the vif by a person
)

var fieldNames = [...]string{"tx.limit", "tx.guarantee", "tx.weight", "tx.priority", "rx.limit", "rx.guarantee", "rx.weight", "rx.priority", "group", "profile"}

// Has says whether all of f are in the set.
func (s Fields) Has(f Fields) bool { return s&f == f }

// Names are the fields' names, in one order: tx.limit, rx.weight, group.
func (s Fields) Names() []string {
	names := []string{}
	for i, name := range fieldNames {
		if s.Has(1 << i) {
			names = append(names, name)
		}
	}
	return names
}

// MarshalJSON writes the names.
func (s Fields) MarshalJSON() ([]byte, error) { return json.Marshal(s.Names()) }

// UnmarshalJSON reads names. One that is not known is an error.
func (s *Fields) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	*s = 0
	for _, name := range names {
		i := slices.Index(fieldNames[:], name)
		if i < 0 {
			return &Error{Code: Invalid, Message: fmt.Sprintf("%.40q is no setting of a vif", name), Try: strings.Join(fieldNames[:], ", ")}
		}
		*s |= 1 << i
	}
	return nil
}

// copyFields sets some fields of to as they are in from.
func copyFields(to *Allocations, from Allocations, some Fields) {
	for _, side := range []struct {
		to    *Allocation
		from  Allocation
		shift int
	}{{&to.Tx, from.Tx, 0}, {&to.Rx, from.Rx, 4}} {
		has := func(f Fields) bool { return some.Has(f << side.shift) }
		if has(TxLimit) {
			side.to.Limit = side.from.Limit
		}
		if has(TxGuarantee) {
			side.to.Guarantee = side.from.Guarantee
		}
		if has(TxWeight) {
			side.to.Weight = side.from.Weight
		}
		if has(TxPriority) {
			side.to.Priority = side.from.Priority
		}
	}
	if some.Has(InGroup) {
		to.Group = from.Group
	}
}

// Set are the fields that were set for the vif itself. Of one that an older
// Sluice set, those that are not as if nobody ever did.
func (a Allocations) Set() Fields {
	own := a.Own
	if a.Profile != "" || own != 0 {
		return own
	}
	for f := TxLimit; f < ByProfile; f <<= 1 {
		b := UnshapedBoth
		if copyFields(&b, a, f); b != UnshapedBoth {
			own |= f
		}
	}
	return own
}

// Terms are what the allocation says to a kernel: without where it comes from.
func (a Allocations) Terms() Allocations {
	a.Profile, a.Own = "", 0
	return a
}

// Bend lowers what a profile guarantees to what the vif's own limit leaves:
// what is set for the vif itself wins.
func (a Allocations) Bend() Allocations {
	if a.Profile == "" {
		return a
	}
	for _, side := range []struct {
		of   *Allocation
		g, p Fields
	}{{&a.Tx, TxGuarantee, TxPriority}, {&a.Rx, RxGuarantee, RxPriority}} {
		if side.of.Guarantee > side.of.Limit && !a.Own.Has(side.g) {
			side.of.Guarantee = side.of.Limit
		}
		if side.of.Guarantee == 0 && !a.Own.Has(side.p) {
			side.of.Priority = 0
		}
	}
	return a
}

// Profile is settings under a name, for vifs that have none of their own.
type Profile struct {
	Name string `json:"name"`
	// Allocations are its values; only those in Own count, and nothing else is set by it.
	Allocations
}

// Match gives a profile to VMs by their names.
type Match struct {
	Pattern string `json:"pattern"` // of the whole name, as a shell's: db-*
	Profile string `json:"profile"`
}

// Profiles are all profiles of a host, and who has which.
type Profiles struct {
	Revision uint64    `json:"revision"` // grows with every change; 0 if there never was one
	All      []Profile `json:"profiles"` // by name
	Default  string    `json:"default"`  // what has no other has this one; "" is none
	Match    []Match   `json:"match"`    // the first that matches counts
}

// MostProfiles is how many profiles, and how many patterns, a host may have.
const MostProfiles = 1000

// Find returns the profile of that name.
func (p Profiles) Find(name string) (Profile, bool) {
	i := slices.IndexFunc(p.All, func(x Profile) bool { return x.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return p.All[i], true
}

// For is the name of the profile that a vif has, and why, in words; "" is none.
// What was chosen for it by a person comes before what its VM's description
// asks for, that before a pattern, and the default comes last. An absent vif
// keeps what it had: its description is not known.
func (p Profiles) For(v VIF, now Allocations) (name, why string) {
	there := func(name string) bool { _, ok := p.Find(name); return ok }
	switch {
	case now.Set().Has(ByProfile) && (now.Profile == "" || there(now.Profile)):
		return now.Profile, "it was chosen for it"
	case v.Device == "" && there(now.Profile):
		return now.Profile, "it had it when it was here"
	case v.Profile != "" && there(v.Profile):
		return v.Profile, "its VM's description asks for it"
	}
	for _, m := range p.Match {
		if ok, err := path.Match(m.Pattern, v.VM); err == nil && ok && there(m.Profile) {
			return m.Profile, "its name matches " + m.Pattern
		}
	}
	if there(p.Default) {
		return p.Default, "it is the default"
	}
	return "", ""
}

// Resolve is what a vif has whose settings now are these: field by field what
// was set for it itself, else what its profile says, else what nobody set.
func (p Profiles) Resolve(v VIF, now Allocations) Allocations {
	to := UnshapedBoth
	to.Own = now.Set()
	to.Profile, _ = p.For(v, now)
	if its, ok := p.Find(to.Profile); ok {
		copyFields(&to, its.Allocations, its.Own)
	}
	copyFields(&to, now, to.Own)
	if to.Profile == "" && to.Own == 0 {
		return UnshapedBoth
	}
	return to.Bend()
}

// Check reports whether the profiles make sense in themselves; the error has code [Invalid].
func (p Profiles) Check() error {
	invalid := func(message, try string) error {
		return &Error{Code: Invalid, Message: message, Unchanged: "nothing was changed", Try: try}
	}
	if len(p.All) > MostProfiles || len(p.Match) > MostProfiles {
		return invalid(fmt.Sprintf("%d profiles and %d patterns are too many", len(p.All), len(p.Match)), fmt.Sprintf("at most %d of each", MostProfiles))
	}
	for i, x := range p.All {
		if err := CheckProfile(x.Name); err != nil {
			return err
		}
		if i > 0 && p.All[i-1].Name >= x.Name {
			return invalid(fmt.Sprintf("profile %s comes twice, or out of order", x.Name), "")
		}
		if err := x.Allocations.Check(Capacity{Tx: Unlimited, Rx: Unlimited}); err != nil {
			var told *Error
			if errors.As(err, &told) {
				e := *told
				e.Message, e.Unchanged = fmt.Sprintf("profile %s: %s", x.Name, e.Message), "no profile and no vif was changed"
				return &e
			}
			return err
		}
	}
	missing := func(name, what string) error {
		if _, ok := p.Find(name); ok || name == "" {
			return nil
		}
		return &Error{Code: NotFound, Message: fmt.Sprintf("%s is profile %s, and there is none of that name", what, name), Unchanged: "nothing was changed", Try: p.names()}
	}
	if err := missing(p.Default, "the default"); err != nil {
		return err
	}
	for _, m := range p.Match {
		if _, err := path.Match(m.Pattern, ""); err != nil || m.Pattern == "" || len(m.Pattern) > 256 {
			return invalid(fmt.Sprintf("%.80q is no pattern", m.Pattern), "a name with * for any letters, ? for one, [ab] for one of these")
		}
		if m.Profile == "" {
			return invalid(fmt.Sprintf("pattern %s has no profile", m.Pattern), "a profile's name")
		}
		if err := missing(m.Profile, "what "+m.Pattern+" has"); err != nil {
			return err
		}
	}
	return nil
}

// names says which profiles there are.
func (p Profiles) names() string {
	if len(p.All) == 0 {
		return "sluice profile set NAME RATE makes one"
	}
	var names []string
	for i, x := range p.All {
		if i == 8 {
			names = append(names, "...")
			break
		}
		names = append(names, x.Name)
	}
	return strings.Join(names, ", ")
}

// NoSuchProfile is the error for a profile that is not there.
func (p Profiles) NoSuchProfile(name string) error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("there is no profile %.70q", name), Unchanged: "nothing was changed", Try: p.names()}
}

// Changed is the error for a request that saw other profiles than there are.
func (p Profiles) Changed() error {
	return &Error{Code: Conflict, Message: "the profiles were changed since you looked", Unchanged: "nothing was changed", Try: "look at what they are now, and ask again"}
}

// CheckProfile reports whether a profile may be called so: as a group may,
// but not none. The error has code [Invalid].
func CheckProfile(name string) error {
	if name == "none" || CheckGroup(name) != nil {
		return &Error{Code: Invalid, Message: fmt.Sprintf("%.70q is no name for a profile", name), Unchanged: "nothing was changed",
			Try: "1 to 63 letters, digits, dots, dashes and underscores, but not none"}
	}
	return nil
}
