package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"sluice"
)

// declared is a host's allocation as a file says it. What a vif or group does
// not mention is as if nobody ever set it.
type declared struct {
	Capacity *declaredLink   `yaml:"capacity,omitempty"`
	Groups   []declaredGroup `yaml:"groups,omitempty"`
	VIFs     []declaredVIF   `yaml:"vifs,omitempty"`
}

type declaredLink struct {
	Tx *declaredRate `yaml:"tx,omitempty"`
	Rx *declaredRate `yaml:"rx,omitempty"`
}

type declaredGroup struct {
	Name     string `yaml:"name"`
	In       string `yaml:"in,omitempty"` // the group that it is in
	declares `yaml:",inline"`
}

type declaredVIF struct {
	VM       string `yaml:"vm"` // its name, or its UUID
	VIF      int    `yaml:"vif"`
	Group    string `yaml:"group,omitempty"`
	declares `yaml:",inline"`
}

// declares is what both directions have, and what one has in another way.
type declares struct {
	declaredShare `yaml:",inline"`
	Tx            *declaredShare `yaml:"tx,omitempty"`
	Rx            *declaredShare `yaml:"rx,omitempty"`
}

type declaredShare struct {
	Limit     *declaredRate `yaml:"limit,omitempty"`
	Guarantee *declaredRate `yaml:"guarantee,omitempty"`
	Weight    *int          `yaml:"weight,omitempty"`
	Priority  *int          `yaml:"priority,omitempty"`
}

// declaredRate is a rate as people write it.
type declaredRate sluice.Rate

// UnmarshalYAML implements [yaml.Unmarshaler]. Its error names the line.
func (r *declaredRate) UnmarshalYAML(n *yaml.Node) error {
	parsed, err := sluice.ParseRate(n.Value)
	if n.Kind != yaml.ScalarNode {
		err = errors.New("a rate such as 10mbit is wanted")
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*r = declaredRate(parsed)
	return nil
}

// MarshalYAML implements [yaml.Marshaler].
func (r declaredRate) MarshalYAML() (any, error) { return sluice.Rate(r).String(), nil }

// mostDeclared is more than a file of 1,000 vifs has that says all of each, in bytes.
const mostDeclared = 1 << 20

// readDeclared reads a file whole, or refuses it whole.
func readDeclared(in io.Reader, name string) (d declared, err error) {
	wrong := func(message, try string, err error) error {
		return &sluice.Error{Code: sluice.Invalid, Message: name + ": " + message, Unchanged: "nothing was changed", Try: try, Err: err}
	}
	text, err := io.ReadAll(io.LimitReader(in, mostDeclared+1))
	if err != nil {
		return d, wrong("it cannot be read", "", err)
	}
	if len(text) > mostDeclared {
		return d, wrong(fmt.Sprintf("it has more than %d bytes", mostDeclared), "", nil)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return d, wrong("it does not say what a host should have", "sluice export, which writes one", plainly(err))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return d, wrong("it has several documents", "one", nil)
	}
	seen := make(map[string]bool)
	for i, g := range d.Groups {
		if err := sluice.CheckGroup(g.Name); err != nil {
			return d, wrong(fmt.Sprintf("group %d: %v", i+1, err), "", nil)
		}
		if seen["@"+g.Name] {
			return d, wrong("there are two groups "+g.Name, "one that says all", nil)
		}
		seen["@"+g.Name] = true
	}
	for i, v := range d.VIFs {
		name := fmt.Sprintf("%s/%d", v.VM, v.VIF)
		switch {
		case v.VM == "":
			return d, wrong(fmt.Sprintf("vif %d has no vm", i+1), "the VM's name or UUID", nil)
		case v.VIF < 0:
			return d, wrong(fmt.Sprintf("%s has vif %d, and they begin with 0", v.VM, v.VIF), "", nil)
		case seen[name]:
			return d, wrong(fmt.Sprintf("there are two vifs %d of %s", v.VIF, v.VM), "one that says all", nil)
		}
		seen[name] = true
	}
	return d, nil
}

// plainly is an error of the YAML library without the names of our types.
func plainly(err error) error {
	var several *yaml.TypeError
	if errors.As(err, &several) {
		text := strings.Join(several.Errors, "; ")
		for _, t := range []string{"declaredShare", "declaredGroup", "declaredLink", "declaredVIF", "declares", "declared"} {
			text = strings.ReplaceAll(text, " in type main."+t, "")
			text = strings.ReplaceAll(text, " into main."+t, "")
		}
		return errors.New(text)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
}

// value is what a vif or group has by the file.
func (d declares) value(group string) sluice.Allocations {
	to := sluice.UnshapedBoth
	to.Group = group
	for _, side := range []struct {
		of  *sluice.Allocation
		own *declaredShare
	}{{&to.Tx, d.Tx}, {&to.Rx, d.Rx}} {
		for _, s := range []*declaredShare{&d.declaredShare, side.own} {
			if s == nil {
				continue
			}
			if s.Limit != nil {
				side.of.Limit = sluice.Rate(*s.Limit)
			}
			if s.Guarantee != nil {
				side.of.Guarantee = sluice.Rate(*s.Guarantee)
			}
			if s.Weight != nil {
				side.of.Weight = *s.Weight
			}
			if s.Priority != nil {
				side.of.Priority = *s.Priority
			}
		}
	}
	return to
}

// declare is what a file says of one that has a.
func declare(a sluice.Allocations) declares {
	share := func(a sluice.Allocation) (s declaredShare) {
		if a.Limit != sluice.Unlimited {
			s.Limit = (*declaredRate)(&a.Limit)
		}
		if a.Guarantee != 0 {
			s.Guarantee = (*declaredRate)(&a.Guarantee)
		}
		if a.Weight != sluice.DefaultWeight {
			s.Weight = &a.Weight
		}
		if a.Priority != 0 {
			s.Priority = &a.Priority
		}
		return s
	}
	if a.Tx == a.Rx {
		return declares{declaredShare: share(a.Tx)}
	}
	var d declares
	if tx := share(a.Tx); tx != (declaredShare{}) {
		d.Tx = &tx
	}
	if rx := share(a.Rx); rx != (declaredShare{}) {
		d.Rx = &rx
	}
	return d
}
