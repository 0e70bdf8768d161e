package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice"
)

// locate finds the vif that somebody means. One that is absent has no device.
// The error has code NotFound, or Refused where it may be several, and says
// what there is instead.
func (c *Control) locate(ctx context.Context, vm string, index int) (sluice.VIF, error) {
	if name, ok := sluice.GroupOf(vm); ok && !strings.HasPrefix(vm, "@@") {
		return sluice.GroupVIF(name), sluice.CheckGroup(name)
	}
	its, err := c.VM(ctx, vm)
	if err != nil {
		return sluice.VIF{}, err
	}
	if len(its) == 1 && its[0].ID == vm {
		return its[0], nil
	}
	var hits []sluice.VIF
	for _, v := range its {
		if v.Index == index && (v.Device != "" || len(hits) == 0 || hits[0].Device == "") {
			if len(hits) > 0 && hits[0].Device == "" && v.Device != "" {
				hits = nil // the one that is here, before one that was
			}
			hits = append(hits, v)
		}
	}
	switch len(hits) {
	case 0:
		return sluice.VIF{}, &sluice.Error{Code: sluice.NotFound,
			Message:   fmt.Sprintf("%s has no vif %d; it has %s", its[0].VM, index, indices(its)),
			Unchanged: "nothing was changed"}
	case 1:
		return hits[0], nil
	}
	var ids []string
	for _, v := range hits {
		ids = append(ids, strings.TrimSuffix(fmt.Sprintf("%s (%s)", v.ID, v.Device), " ()"))
	}
	return sluice.VIF{}, &sluice.Error{Code: sluice.Refused,
		Message:   fmt.Sprintf("%s may be %d vifs: %s", hits[0], len(ids), strings.Join(ids, ", ")),
		Unchanged: "nothing was changed", Try: "name it by one of these instead of by its VM"}
}

// VM returns the vifs of the VM that somebody means by its name, its UUID or
// a vif's ID, those that are absent last. A UUID is the same in capitals, and
// so is a name where no other VM has it. The error has code NotFound, or
// Refused where the name is that of several VMs.
func (c *Control) VM(ctx context.Context, vm string) ([]sluice.VIF, error) {
	if err := c.census.load(ctx); err != nil {
		return nil, err
	}
	if strings.HasPrefix(vm, "@@") {
		vm = vm[1:] // a VM whose name begins as a group's
	}
	present := c.census.VIFs()
	all := append(slices.Clone(present), c.census.absent()...)
	for _, means := range []func(v sluice.VIF) bool{
		func(v sluice.VIF) bool { return v.VM == vm },
		func(v sluice.VIF) bool { return v.UUID != "" && strings.EqualFold(v.UUID, vm) },
		func(v sluice.VIF) bool { return strings.EqualFold(v.ID, vm) },
		func(v sluice.VIF) bool { return strings.EqualFold(v.VM, vm) },
	} {
		var its []sluice.VIF
		vms := make(map[[2]string]bool)
		for _, v := range all {
			if means(v) {
				its = append(its, v)
				vms[[2]string{v.VM, v.UUID}] = true
			}
		}
		if len(vms) > 1 {
			return nil, several(vm, its)
		}
		if len(its) > 0 {
			return its, nil
		}
	}
	return nil, noSuchVM(present, vm)
}

// several says which VMs somebody may mean.
func several(vm string, its []sluice.VIF) error {
	var names, uuids []string
	for _, v := range its {
		if !slices.Contains(names, v.VM) {
			names = append(names, v.VM)
		}
		if id := cmp.Or(v.UUID, v.ID); !slices.Contains(uuids, id) {
			uuids = append(uuids, id)
		}
	}
	e := &sluice.Error{Code: sluice.Refused, Unchanged: "nothing was changed", Try: "name it by its UUID",
		Message: fmt.Sprintf("%s is the name of %d VMs: %s", quote(vm), len(uuids), few(uuids))}
	if len(names) > 1 {
		e.Message, e.Try = fmt.Sprintf("%s may be %d VMs: %s", quote(vm), len(names), few(names)), "one of these names"
	}
	return e
}

// find finds the vif with that key among those present. A group is there at any time.
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

// find finds the vif with that key, which is without a device if it is absent.
func (c *Control) find(ctx context.Context, key string) (sluice.VIF, bool, error) {
	if err := c.census.load(ctx); err != nil {
		return sluice.VIF{}, false, err
	}
	if v, ok := find(c.census.VIFs(), key); ok {
		return v, true, nil
	}
	v, ok := find(c.census.absent(), key)
	return v, ok, nil
}

// called is what people call the one with that key.
func (c *Control) called(key string) string {
	if v, present := find(c.census.VIFs(), key); present {
		return v.String()
	}
	if v, known := find(c.census.absent(), key); known {
		return v.String() + " (absent)"
	}
	return key + " (not here now)"
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
