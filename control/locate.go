package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice"
)

// locate finds the vif of the VM with that name or UUID. The error has code
// NotFound, or Refused where the name is that of several VMs, and says what
// there is instead.
func locate(vifs []sluice.VIF, vm string, index int) (sluice.VIF, error) {
	if name, ok := sluice.GroupOf(vm); ok {
		return sluice.GroupVIF(name), sluice.CheckGroup(name)
	}
	var (
		vms  []string // what the VMs called so are, by the first half of their keys
		its  []sluice.VIF
		hits []sluice.VIF
	)
	for _, v := range vifs {
		if v.VM != vm && (v.UUID == "" || !strings.EqualFold(v.UUID, vm)) {
			continue
		}
		its = append(its, v)
		if id := identity(v); !slices.Contains(vms, id) {
			vms = append(vms, id)
		}
		if v.Index == index {
			hits = append(hits, v)
		}
	}
	switch {
	case len(vms) == 0:
		return sluice.VIF{}, noSuchVM(vifs, vm)
	case len(vms) > 1:
		return sluice.VIF{}, &sluice.Error{Code: sluice.Refused,
			Message:   fmt.Sprintf("%s is the name of %d VMs: %s", quote(vm), len(vms), strings.Join(vms, ", ")),
			Unchanged: "nothing was changed", Try: "name it by its UUID"}
	case len(hits) == 0:
		return sluice.VIF{}, &sluice.Error{Code: sluice.NotFound,
			Message:   fmt.Sprintf("%s has no vif %d; it has %s", its[0].VM, index, indices(its)),
			Unchanged: "nothing was changed"}
	case len(hits) > 1:
		return sluice.VIF{}, &sluice.Error{Code: sluice.Refused,
			Message:   fmt.Sprintf("%s is two devices: %s and %s", hits[0], hits[0].Device, hits[1].Device),
			Unchanged: "nothing was changed", Try: "give the VMs different names"}
	}
	return hits[0], nil
}

// find finds the vif with that key. A group is there at any time.
func find(vifs []sluice.VIF, key string) (sluice.VIF, bool) {
	if name, ok := sluice.GroupOf(key); ok {
		return sluice.GroupVIF(name), true
	}
	i := slices.IndexFunc(vifs, func(v sluice.VIF) bool { return v.Key() == key })
	if i < 0 {
		return sluice.VIF{}, false
	}
	return vifs[i], true
}

func identity(v sluice.VIF) string {
	if v.UUID != "" {
		return v.UUID
	}
	return v.VM
}

// noSuchVM names the VMs whose names are near, else those that there are.
func noSuchVM(vifs []sluice.VIF, vm string) error {
	const few = 8
	var near, all []string
	for _, v := range vifs {
		if slices.Contains(all, v.VM) {
			continue
		}
		all = append(all, v.VM)
		if alike(v.VM, vm) {
			near = append(near, v.VM)
		}
	}
	e := &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no VM %s", quote(vm)), Unchanged: "nothing was changed"}
	names := all
	if len(near) > 0 {
		names = near
	}
	slices.Sort(names)
	if len(names) > few {
		names = append(names[:few:few], "...")
	}
	switch {
	case len(all) == 0:
		e.Message += "; this host has none with a network interface"
		e.Try = "sluice doctor, which says where VMs are looked for"
	case len(near) > 0:
		e.Try = strings.Join(names, " or ")
	default:
		e.Message += "; there are " + strings.Join(names, ", ")
		e.Try = "sluice list"
	}
	return e
}

// alike says whether a person may have meant one by the other: another case,
// a part of it, or up to two letters wrong.
func alike(name, asked string) bool {
	name, asked = strings.ToLower(name), strings.ToLower(asked)
	if asked == "" || len(asked) > 255 {
		return false
	}
	if strings.Contains(name, asked) || len(name) > 2 && strings.Contains(asked, name) {
		return true
	}
	return distance(name, asked) <= min(2, len(asked)/2)
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func indices(vifs []sluice.VIF) string {
	all := make([]int, 0, len(vifs))
	for _, v := range vifs {
		all = append(all, v.Index)
	}
	slices.Sort(all)
	words := make([]string, 0, len(all))
	for _, i := range all {
		words = append(words, strconv.Itoa(i))
	}
	return strings.Join(words, ", ")
}

// quote quotes what somebody typed, within reason.
func quote(s string) string {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	return strconv.Quote(s)
}
