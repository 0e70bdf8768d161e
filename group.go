package sluice

import (
	"fmt"
	"strings"
)

// A group is vifs that share: a tenant, or a VM of several. It has a
// guarantee, a limit and a weight of its own, that its members have together,
// and may itself be in a group. Wherever a vif is named, a group may be, by
// its name after an @: it is set, changed for a time and undone as a vif is.

const (
	// HostGroup is what stands over everything: the host's capacity.
	HostGroup = "host"
	// MaxDepth is how many groups may be inside one another: HTB has eight
	// levels (net/sched/sch_htb.c, TC_HTB_MAXDEPTH), and needs some itself.
	MaxDepth = 4

	groupMark  = "@"
	groupIndex = -1
)

// GroupVIF is a group where a vif is asked for.
func GroupVIF(name string) VIF { return VIF{VM: groupMark + name, Index: groupIndex} }

// GroupOf is the name of the group that is meant by a VM's name or a key; ok
// is false if that is none.
func GroupOf(s string) (name string, ok bool) {
	name, ok = strings.CutPrefix(s, groupMark)
	return name, ok && !strings.Contains(name, "/")
}

// IsGroup says whether v is a group's.
func (v VIF) IsGroup() bool { return v.Index == groupIndex }

// CheckGroup reports whether a group may be called so: 1 to 63 letters,
// digits, dots, dashes and underscores. The error has code [Invalid].
func CheckGroup(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if name == "" || len(name) > 63 || strings.Trim(name, letters) != "" || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		return &Error{Code: Invalid, Message: fmt.Sprintf("%.70q is no name for a group", name), Unchanged: "nothing was changed",
			Try: "1 to 63 letters, digits, dots, dashes and underscores"}
	}
	return nil
}

// GroupStatus is one group, and what its members use together.
type GroupStatus struct {
	Name     string          `json:"name"`
	Parent   string          `json:"parent"` // the group that it is in; [HostGroup] for none
	State    State           `json:"state"`
	Revision uint64          `json:"revision"`
	Tx       DirectionStatus `json:"tx"`
	Rx       DirectionStatus `json:"rx"`
	Members  []string        `json:"members"` // as people call them: "web vif 0", "group gold"
}
