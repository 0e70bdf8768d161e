package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"sluice"
	"sluice/control"
	"sluice/http"
)

// host is what a daemon says there is and what it has.
type host struct {
	vifs   []sluice.VIFStatus
	groups []sluice.GroupStatus
	link   sluice.Link
}

func (c *client) host(cmd *cobra.Command) (h host, err error) {
	if h.vifs, err = c.daemon().AllVIFs(cmd.Context()); err != nil {
		return h, err
	}
	if h.groups, err = c.daemon().Groups(cmd.Context()); err != nil {
		return h, err
	}
	h.link, err = c.daemon().Link(cmd.Context())
	return h, err
}

func allocations(tx, rx sluice.DirectionStatus, group string) sluice.Allocations {
	return sluice.Allocations{Tx: tx.Allocation(), Rx: rx.Allocation(), Group: group}
}

// export is the file that says what a host has.
func (h host) export() (d declared) {
	rate := func(r sluice.Rate) *declaredRate {
		if r == sluice.Unlimited {
			return nil
		}
		return (*declaredRate)(&r)
	}
	if l := (declaredLink{rate(h.link.Capacity.Tx), rate(h.link.Capacity.Rx)}); l != (declaredLink{}) {
		d.Capacity = &l
	}
	for _, g := range h.groups {
		in := g.Parent
		if in == sluice.HostGroup {
			in = ""
		}
		d.Groups = append(d.Groups, declaredGroup{Name: g.Name, In: in, declares: declare(allocations(g.Tx, g.Rx, ""))})
	}
	uuids := make(map[string]map[string]bool) // by name
	for _, v := range h.vifs {
		if uuids[v.VM] == nil {
			uuids[v.VM] = make(map[string]bool)
		}
		uuids[v.VM][v.UUID] = true
	}
	for _, v := range h.vifs {
		vm := v.VM
		if len(uuids[vm]) > 1 && v.UUID != "" {
			vm = v.UUID // two VMs have that name
		}
		if _, group := sluice.GroupOf(vm); group {
			vm = "@" + vm
		}
		d.VIFs = append(d.VIFs, declaredVIF{VM: vm, VIF: v.Index, Group: v.Group, declares: declare(allocations(v.Tx, v.Rx, ""))})
	}
	return d
}

// difference is what makes a host have what a file says.
type difference struct {
	lines    []string // what changes, as people read it
	requests []http.ChangeRequest
	back     []http.ChangeRequest // what takes them back
	capacity *sluice.Capacity     // nil: it stays
}

// compare says what is to change for a host to have what the file says. What
// the file does not name stays, or with prune is as if nobody ever set it. find
// says which vif a name and an index mean.
func (h host) compare(d declared, prune bool, find func(vm string, vif int) (sluice.VIFStatus, error)) (diff difference, err error) {
	add := func(mark, name string, from, to sluice.Allocations, r http.ChangeRequest) {
		r.Tx, r.Rx = patch(from.Tx, to.Tx), patch(from.Rx, to.Rx)
		diff.requests = append(diff.requests, r)
		back := http.ChangeRequest{VM: r.VM, VIF: r.VIF, Tx: patch(to.Tx, from.Tx), Rx: patch(to.Rx, from.Rx), Delete: mark == "+"}
		if group := cmp.Or(from.Group, sluice.HostGroup); r.Group != nil || r.Delete {
			back.Group = &group
		}
		diff.back = append(diff.back, back)
		switch mark {
		case "+":
			diff.lines = append(diff.lines, fmt.Sprintf("+ %s: %s", name, in(to)))
		case "-":
			diff.lines = append(diff.lines, fmt.Sprintf("- %s: was %s", name, in(from)))
		default:
			diff.lines = append(diff.lines, fmt.Sprintf("~ %s: from %s to %s", name, in(from), in(to)))
		}
	}
	if d.Capacity != nil {
		to := h.link.Capacity
		if d.Capacity.Tx != nil {
			to.Tx = sluice.Rate(*d.Capacity.Tx)
		}
		if d.Capacity.Rx != nil {
			to.Rx = sluice.Rate(*d.Capacity.Rx)
		}
		if to != h.link.Capacity {
			diff.capacity = &to
			diff.lines = append(diff.lines, fmt.Sprintf("~ the link: from tx %s, rx %s to tx %s, rx %s", h.link.Capacity.Tx, h.link.Capacity.Rx, to.Tx, to.Rx))
		}
	}
	named := make(map[string]bool)
	for _, g := range d.Groups {
		vif := sluice.GroupVIF(g.Name)
		named[vif.Key()] = true
		to := g.value(cmp.Or(g.In, sluice.HostGroup))
		i := slices.IndexFunc(h.groups, func(x sluice.GroupStatus) bool { return x.Name == g.Name })
		if i < 0 {
			add("+", vif.String(), sluice.UnshapedBoth, to, http.ChangeRequest{VM: vif.VM, Group: &to.Group})
			continue
		}
		have := h.groups[i]
		if from := allocations(have.Tx, have.Rx, have.Parent); from != to {
			r := http.ChangeRequest{VM: vif.VM, Revision: &have.Revision}
			if to.Group != from.Group {
				r.Group = &to.Group
			}
			add("~", vif.String(), from, to, r)
		}
	}
	change := func(v sluice.VIFStatus, to sluice.Allocations) {
		from := allocations(v.Tx, v.Rx, v.Group)
		if from == to {
			return
		}
		r := http.ChangeRequest{VM: v.Key(), VIF: v.Index, Revision: &v.Revision}
		if to.Group != from.Group {
			group := cmp.Or(to.Group, sluice.HostGroup)
			r.Group = &group
		}
		add("~", v.String(), from, to, r)
	}
	for _, one := range d.VIFs {
		v, err := find(one.VM, one.VIF)
		if err != nil {
			return diff, err
		}
		if named[v.Key()] {
			return diff, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%s is named twice", v), Unchanged: "nothing was changed", Try: "once, by its name or its UUID"}
		}
		named[v.Key()] = true
		group := one.Group
		if group == sluice.HostGroup {
			group = ""
		}
		change(v, one.value(group))
	}
	if !prune {
		return diff, nil
	}
	for _, v := range h.vifs {
		if !named[v.Key()] {
			change(v, sluice.UnshapedBoth)
		}
	}
	for _, g := range h.groups {
		if vif := sluice.GroupVIF(g.Name); !named[vif.Key()] {
			add("-", vif.String(), allocations(g.Tx, g.Rx, g.Parent), sluice.UnshapedBoth, http.ChangeRequest{VM: vif.VM, Delete: true, Revision: &g.Revision})
		}
	}
	return diff, nil
}

// in is what one has, without saying that it is in no group.
func in(a sluice.Allocations) string {
	if a.Group == sluice.HostGroup {
		a.Group = ""
	}
	return a.String()
}

// patch is what takes from to to; nil for nothing.
func patch(from, to sluice.Allocation) *control.Patch {
	p := new(control.Patch)
	if from.Limit != to.Limit {
		p.Limit = &to.Limit
	}
	if from.Guarantee != to.Guarantee {
		p.Guarantee = &to.Guarantee
	}
	if from.Weight != to.Weight {
		p.Weight = &to.Weight
	}
	if from.Priority != to.Priority {
		p.Priority = &to.Priority
	}
	if *p == (control.Patch{}) {
		return nil
	}
	return p
}

// find finds a vif by its VM's name or UUID.
func (c *client) find(cmd *cobra.Command, vm string, index int) (sluice.VIFStatus, error) {
	its, err := c.daemon().VM(cmd.Context(), vm)
	if err != nil {
		return sluice.VIFStatus{}, err
	}
	var hits []sluice.VIFStatus
	for _, v := range its {
		if v.Index == index && (!v.Absent || len(hits) == 0) { // those that are here come first
			hits = append(hits, v)
		}
	}
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		return sluice.VIFStatus{}, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("%s has no vif %d", vm, index), Unchanged: "nothing was changed", Try: "sluice show " + vm}
	}
	return sluice.VIFStatus{}, &sluice.Error{Code: sluice.Refused, Message: fmt.Sprintf("vif %d of %s may be %d vifs", index, vm, len(hits)), Unchanged: "nothing was changed", Try: "its key instead of the VM: sluice list -o wide"}
}

func exportCommand(c *client) *cobra.Command {
	return &cobra.Command{Use: "export", Short: "write what this host has as a file for sluice apply", Args: cobra.NoArgs,
		Long: "Write what this host has, of its link, its groups and every vif, as YAML that sluice apply takes.\n" +
			"What a line does not mention is as if nobody ever set it.",
		Example: "  sluice export > host.yaml\n  sluice export | ssh other sluice apply -f - --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := c.host(cmd)
			if err != nil {
				return err
			}
			var b bytes.Buffer
			name, _ := os.Hostname()
			fmt.Fprintf(&b, "# What %s had at %s. sluice apply -f FILE makes it so again.\n", sluice.Printable(cmp.Or(name, "this host")), time.Now().Format(time.RFC3339))
			enc := yaml.NewEncoder(&b)
			enc.SetIndent(2)
			if err := enc.Encode(h.export()); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b.Bytes())
			return err
		}}
}

func applyCommand(c *client) *cobra.Command {
	file, dry, prune := "", false, false
	cmd := &cobra.Command{Use: "apply -f FILE", Short: "make this host have what a file says, all or none", Args: cobra.NoArgs,
		Long: "Make this host have what a file says, all or none. What is different is shown first; nothing else is touched, and\n" +
			"a second time there is nothing to do. What the file does not name stays as it is, unless --prune is given.",
		Example: "  sluice apply -f host.yaml --dry-run\n  sluice apply -f host.yaml\n  sluice apply -f host.yaml --prune",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.apply(cmd, file, dry, prune)
		}}
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "the file, or - for what is piped in")
	f.BoolVar(&dry, "dry-run", false, "change nothing, but show what is different and what every vif would get")
	f.BoolVar(&prune, "prune", false, "what the file does not name is as if nobody ever set it, and groups that it does not name are deleted")
	cobra.CheckErr(cmd.MarkFlagRequired("file"))
	return cmd
}

func (c *client) apply(cmd *cobra.Command, file string, dry, prune bool) error {
	in, err := input(cmd, file, "the file")
	if err != nil {
		return err
	}
	defer in.Close()
	want, err := readDeclared(in, file)
	if err != nil {
		return err
	}
	h, err := c.host(cmd)
	if err != nil {
		return err
	}
	diff, err := h.compare(want, prune, func(vm string, vif int) (sluice.VIFStatus, error) { return c.find(cmd, vm, vif) })
	if err != nil {
		return err
	}
	changes, err := c.make(cmd, h, diff, dry)
	if err != nil {
		return err
	}
	return c.print(cmd.OutOrStdout(), changes, func(w io.Writer) {
		for _, line := range diff.lines {
			fmt.Fprintln(w, line)
		}
		switch {
		case len(diff.lines) == 0:
			fmt.Fprintln(w, "the host has what the file says; nothing was changed")
		case dry:
			fmt.Fprintln(w, "nothing was changed")
			if len(changes) > 0 {
				printEffect(w, changes[len(changes)-1])
			}
		default:
			verified, waiting := 0, ""
			for _, x := range changes {
				if x.Verified {
					verified++
				}
			}
			if n := len(changes) - verified; n > 0 {
				waiting = fmt.Sprintf(", %d kept for when what is absent comes", n)
			}
			fmt.Fprintf(w, "done: %d changes: %d verified%s\n", len(changes), verified, waiting)
		}
	})
}

// make makes a difference none. The link is widened before vifs are guaranteed
// more of it, and narrowed after; where either is refused, all has again what it had.
func (c *client) make(cmd *cobra.Command, h host, diff difference, dry bool) (changes []sluice.Change, err error) {
	changes = []sluice.Change{}
	link := func(to sluice.Capacity) error {
		_, err := c.daemon().SetCapacity(cmd.Context(), to)
		return err
	}
	before, after := h.link.Capacity, h.link.Capacity
	if diff.capacity != nil {
		after = *diff.capacity
		before.Tx, before.Rx = max(before.Tx, after.Tx), max(before.Rx, after.Rx)
	}
	if before != h.link.Capacity && !dry {
		if err := link(before); err != nil {
			return nil, err
		}
	}
	if len(diff.requests) > 0 {
		for i := range diff.requests {
			diff.requests[i].DryRun = dry
		}
		c.warn(cmd, diff.requests)
		changes, err = c.daemon().SetAll(cmd.Context(), diff.requests)
	}
	if err == nil && after != before && !dry {
		err = link(after)
		if err == nil {
			return changes, nil
		}
		if len(diff.back) > 0 {
			if _, failed := c.daemon().SetAll(cmd.Context(), diff.back); failed != nil {
				return nil, errors.Join(err, failed)
			}
		}
		var told *sluice.Error
		if errors.As(err, &told) {
			told.Unchanged = "all has again what it had"
		}
	}
	if err != nil && before != h.link.Capacity && !dry {
		if back := link(h.link.Capacity); back != nil {
			return nil, errors.Join(err, back)
		}
	}
	return changes, err
}
