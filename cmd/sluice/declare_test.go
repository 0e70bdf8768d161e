package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"sluice"
)

// declaredHost has a group in a group, two vifs with settings and one without,
// one that is absent, and two VMs with one name.
func declaredHost() host {
	share := func(limit, guarantee sluice.Rate) sluice.DirectionStatus {
		return sluice.DirectionStatus{Limit: limit, Guarantee: guarantee, Weight: sluice.DefaultWeight}
	}
	none := share(sluice.Unlimited, 0)
	vif := func(vm, uuid string, index int, tx, rx sluice.DirectionStatus, group string) sluice.VIFStatus {
		v := sluice.VIF{VM: vm, UUID: uuid, Index: index, Device: "tap"}
		v.ID = v.Key()
		return sluice.VIFStatus{VIF: v, Tx: tx, Rx: rx, Group: group, Revision: 7}
	}
	heavy := share(sluice.Unlimited, 0)
	heavy.Weight, heavy.Priority = 400, 1
	gone := vif("old", "", 0, share(5e6, 0), none, "")
	gone.Absent, gone.Device = true, ""
	return host{
		link: sluice.Link{Capacity: sluice.Capacity{Tx: 1e9, Rx: sluice.Unlimited}},
		groups: []sluice.GroupStatus{
			{Name: "gold", Parent: "host", Tx: share(500e6, 200e6), Rx: share(500e6, 200e6), Revision: 3},
			{Name: "inner", Parent: "gold", Tx: none, Rx: none, Revision: 4},
		},
		vifs: []sluice.VIFStatus{
			vif("web", "u1", 0, share(100e6, 20e6), share(100e6, 20e6), "gold"),
			vif("web", "u2", 0, none, none, ""),
			vif("we ird: #1", "", 2, heavy, share(1500, 0), ""),
			gone,
		},
	}
}

func (h host) lookup(vm string, index int) (sluice.VIFStatus, error) {
	i := slices.IndexFunc(h.vifs, func(v sluice.VIFStatus) bool { return (v.VM == vm || v.UUID == vm) && v.Index == index })
	if i < 0 {
		return sluice.VIFStatus{}, &sluice.Error{Code: sluice.NotFound, Message: vm}
	}
	return h.vifs[i], nil
}

// What is exported is what a host has: applied there, nothing is different.
func TestExportIsComplete(t *testing.T) {
	h := declaredHost()
	text, err := yaml.Marshal(h.export())
	if err != nil {
		t.Fatal(err)
	}
	d, err := readDeclared(bytes.NewReader(text), "host.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	diff, err := h.compare(d, true, h.lookup)
	if err != nil || len(diff.lines) > 0 || len(diff.requests) > 0 || diff.capacity != nil {
		t.Errorf("%v %q\n%s", err, diff.lines, text)
	}
	for _, says := range []string{"limit: 100mbit", "vm: u1", "vm: 'we ird: #1'", "weight: 400", "limit: 1.5kbit", "in: gold", "vm: old"} {
		if !strings.Contains(string(text), says) {
			t.Errorf("%s: want %q", text, says)
		}
	}
}

func TestCompare(t *testing.T) {
	h := declaredHost()
	file := `
capacity: {rx: 10gbit}
groups:
- {name: gold, limit: 600mbit, guarantee: 200mbit}
- {name: new, in: gold, tx: {guarantee: 10mbit}}
vifs:
- {vm: u1, vif: 0, group: new, limit: 100mbit, tx: {guarantee: 20mbit}}
- {vm: old, vif: 0}
`
	for _, x := range []struct {
		prune bool
		lines []string
	}{
		{false, []string{
			"~ the link: from tx 1gbit, rx unlimited to tx 1gbit, rx 10gbit",
			"~ group gold: from 500mbit guarantee 200mbit to 600mbit guarantee 200mbit",
			"+ group new: tx guarantee 10mbit, no limit, rx unlimited in group gold",
			"~ web vif 0: from 100mbit guarantee 20mbit in group gold to tx 100mbit guarantee 20mbit, rx 100mbit in group new",
			"~ old vif 0: from tx 5mbit, rx unlimited to unlimited",
		}},
		{true, []string{
			"~ we ird: #1 vif 2: from tx weight 400 priority 1, no limit, rx 1.5kbit to unlimited",
			"- group inner: was unlimited in group gold",
		}},
	} {
		d, err := readDeclared(strings.NewReader(file), "host.yaml")
		if err != nil {
			t.Fatal(err)
		}
		diff, err := h.compare(d, x.prune, h.lookup)
		if err != nil {
			t.Fatal(err)
		}
		if got := diff.lines[max(0, len(diff.lines)-len(x.lines)):]; !slices.Equal(got, x.lines) {
			t.Errorf("%q, want %q", diff.lines, x.lines)
		}
		r := diff.requests[2]
		if r.VM != "u1/0" || *r.Group != "new" || *r.Revision != 7 || r.Tx != nil || *r.Rx.Guarantee != 0 || r.Rx.Limit != nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestReadDeclared(t *testing.T) {
	for text, says := range map[string]string{
		"vifs: [{vm: web, vif: 0, limti: 5mbit}]":      "line 1: field limti not found",
		"vifs:\n- vm: web\n  vif: 0\n  limit: 5parsec": "line 4",
		"vifs: [{vm: web, vif: 0, limit: [5]}]":        "line 1",
		"vifs: [{vm: web, vif: -1}]":                   "begin with 0",
		"vifs: [{vif: 0}]":                             "has no vm",
		"vifs: [{vm: web, vif: 0}, {vm: web, vif: 0}]": "two vifs 0 of web",
		"groups: [{name: a}, {name: a}]":               "two groups a",
		"groups: [{name: a b}]":                        "no name for a group",
		"a: 1":                                         "field a not found",
		"[]":                                           "cannot unmarshal",
		"vifs: []\n---\nvifs: []":                      "several documents",
		"vifs: {":                                      "does not say",
		"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nvifs: *b": "host.yaml",
		strings.Repeat("#", mostDeclared+1):                                  "more than",
	} {
		if _, err := readDeclared(strings.NewReader(text), "host.yaml"); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "main.") {
			t.Errorf("%.60q: %v, want %q", text, err, says)
		}
	}
	if d, err := readDeclared(strings.NewReader("# nothing\n"), "host.yaml"); err != nil || len(d.VIFs) > 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func FuzzReadDeclared(f *testing.F) {
	f.Add("capacity: {tx: 1gbit}\ngroups: [{name: a, limit: 5mbit}]\nvifs: [{vm: web, vif: 0, tx: {weight: 5}}]")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readDeclared(strings.NewReader(text), "host.yaml")
		if err != nil {
			return
		}
		again, err := yaml.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readDeclared(bytes.NewReader(again), "host.yaml"); err != nil {
			t.Errorf("%q was read, and %q cannot be: %v", text, again, err)
		}
	})
}
