package htb

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"sluice"
	"sluice/linux/tc"
)

// asked says whether a vif or group is among names; nil is everything, and a
// part of a plan has all groups.
func asked(names map[string]bool, key string) bool {
	_, group := sluice.GroupOf(key)
	return names == nil || group || names[key]
}

// some are the vifs among names.
func (s State) some(names map[string]bool) map[string]VIF {
	if names == nil {
		return s.VIFs
	}
	vifs := make(map[string]VIF, len(names))
	for key := range names {
		if v, ok := s.VIFs[key]; ok {
			vifs[key] = v
		}
	}
	return vifs
}

// obstacles are what keeps frames of the vifs among names from their classes, by key.
func (d *Driver) obstacles(names map[string]bool) map[string]error {
	found := make(map[string]error)
	for _, dir := range sluice.Directions {
		contended := sync.OnceValue(func() bool { return d.state.contended(dir) })
		for key, v := range d.state.some(names) {
			h := d.have[dir].Hooks[v.Ifindex]
			if !h.Ingress && len(h.Before) == 0 || !d.state.passes(dir, v, contended()) {
				continue
			}
			device := d.want.VIFs[key].VIF.Device
			switch {
			case h.Ingress:
				found[key] = &sluice.Error{Code: sluice.Unsupported,
					Message: fmt.Sprintf("%s has an ingress qdisc of another program, which leaves no room for a clsact, so it is not shaped", device),
					Try:     "tc qdisc del dev " + device + " ingress, if nobody needs it"}
			case len(h.Before) > 0:
				side := "ingress"
				if d.sides.hook(v.Ifindex, dir) == tc.Egress {
					side = "egress"
				}
				found[key] = &sluice.Error{Code: sluice.NotApplied,
					Message: fmt.Sprintf("another program's filter runs before ours on %s %s: %s", device, side, strings.Join(h.Before, "; ")),
					Try:     fmt.Sprintf("tc filter show dev %s %s, or bpftool net show dev %s; have it end with the verdict continue, or remove it", device, side, device)}
			}
		}
	}
	return found
}

// publish tells what of names is not enforced.
func (d *Driver) publish(failed map[string]error, names map[string]bool) {
	problems := d.Problems()
	maps.DeleteFunc(problems, func(key, _ string) bool { return asked(names, key) })
	unknown := func(key string, a sluice.Allocations) {
		for _, dir := range sluice.Directions {
			if a.Get(dir).Guarantee > 0 && d.state.Capacity.Get(dir) == sluice.Unlimited {
				problems[key] = fmt.Sprintf("its %s guarantee is not held, for nobody said what the link carries (try: sluice capacity RATE)", dir)
			}
		}
	}
	for key, v := range d.state.some(names) {
		unknown(key, v.Want)
	}
	for name, g := range d.state.Groups {
		unknown(groupKey(name), g)
	}
	for key, err := range failed {
		problems[key] = message(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.problems = problems
}

// failed tells that a comparison came to no end: nothing is known to be
// enforced. Frames that are redirected to a tree that cannot be would be lost,
// so they go their own way.
func (d *Driver) failed(err error) {
	problems := make(map[string]string)
	for _, dir := range sluice.Directions {
		for key := range d.state.shaped(dir) {
			problems[key] = message(err)
		}
	}
	d.mu.Lock()
	d.problems = problems
	d.mu.Unlock()
	for _, dir := range sluice.Directions {
		_ = d.readHead(dir) // it may not have come to this one
	}
	if d.programs == nil && d.adopt(0) != nil { // a daemon before us left what redirects
		return
	}
	for _, dir := range sluice.Directions {
		k := d.have[dir]
		if k.sends() {
			continue
		}
		lines, _ := d.programs.lines(dir)
		for index := range lines {
			_ = d.programs.forget(dir, index)
		}
		clear(k.Map)
	}
}

// Problems are the reasons why vifs and groups are not enforced as was set,
// by key, as of the last look at the kernel.
func (d *Driver) Problems() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.problems)
}

func message(err error) string {
	var told *sluice.Error
	if errors.As(err, &told) {
		one := *told
		one.Unchanged = ""
		return one.Error()
	}
	return err.Error()
}
