package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

// of is a request for a group.
func of(name string, guarantee, limit sluice.Rate) control.Request {
	p := &control.Patch{Guarantee: &guarantee, Limit: &limit}
	return control.Request{VM: "@" + name, Tx: p, Rx: p, By: "root"}
}

func into(v sluice.VIF, group string) control.Request {
	return control.Request{VM: v.VM, VIF: v.Index, Group: &group, By: "root"}
}

// refused asks and holds the answer against what it should say; a code of ""
// is that it is done.
func (h *host) refused(r control.Request, code sluice.Code, says ...string) sluice.Change {
	h.Helper()
	c, err := h.Set(h.Context(), r)
	if sluice.CodeOf(err) != code {
		h.Fatalf("%v; want code %q", err, code)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			h.Errorf("%v; want %q", err, s)
		}
	}
	return c
}

// A group has what its members guarantee each other; a refusal says what would be accepted.
func TestGroups(t *testing.T) {
	dir := t.TempDir()
	h := newLink(t, dir).run()
	h.refused(into(web, "gold"), sluice.NotFound, `there is no group "gold"`, "sluice group set gold")
	h.refused(of("gold", 76*sluice.Mbit, 90*sluice.Mbit), sluice.Refused, "tx guarantee 76mbit for group gold does not fit", "at most 75mbit", "there is still no group gold")
	h.refused(of("gold", 60*sluice.Mbit, 50*sluice.Mbit), sluice.Refused, "above the limit 50mbit")
	h.refused(of("go/ld", 0, 50*sluice.Mbit), sluice.NotFound)
	h.refused(of("go ld", 0, 50*sluice.Mbit), sluice.Invalid, "no name for a group")
	h.refused(of("host", 0, 50*sluice.Mbit), sluice.Invalid, "the host itself")
	h.refused(of("gold", 40*sluice.Mbit, 90*sluice.Mbit), "")
	h.refused(of("batch", 30*sluice.Mbit, 90*sluice.Mbit), "")
	h.refused(guarantee(ftp, 6*sluice.Mbit, 0), sluice.Refused, "5mbit is free", "group gold holds 40mbit, group batch holds 30mbit")

	// Members share what the group has.
	h.refused(guarantee(web, 5*sluice.Mbit, 0), "")
	h.refused(into(web, "gold"), "")
	h.refused(guarantee(web, 41*sluice.Mbit, 0), sluice.Refused, "40mbit is free of group gold's 40mbit", "a guarantee of at most 40mbit, or first: sluice group set gold --tx --guarantee 41mbit")
	h.refused(guarantee(web, 30*sluice.Mbit, 0), "")
	h.refused(into(web1, "gold"), "")
	h.refused(guarantee(web1, 11*sluice.Mbit, 0), sluice.Refused, "10mbit is free of group gold's", "web vif 0 holds 30mbit")
	h.refused(of("gold", 29*sluice.Mbit, 90*sluice.Mbit), sluice.Refused, "less than the 30mbit of its members: web vif 0 holds 30mbit", "at least 30mbit, or lower theirs by 1mbit")
	if a, _ := h.kernel.has(web.Device); a.Group != "gold" {
		t.Errorf("the kernel has %s", a)
	}
	// Out of the group a guarantee counts against the link: 40 + 30 + 30 > 75.
	h.refused(into(web, "host"), sluice.Refused, "tx guarantee 30mbit", "5mbit is free")

	// Groups in groups.
	gold := "gold"
	h.refused(control.Request{VM: "@gold", Group: &gold}, sluice.Invalid, "cannot be in itself")
	inner := of("inner", 10*sluice.Mbit, 50*sluice.Mbit)
	inner.Group = &gold
	h.refused(inner, "")
	h.refused(guarantee(web1, sluice.Mbit, 0), sluice.Refused, "0bit is free of group gold's", "group inner holds 10mbit")
	h.refused(control.Request{VM: "@gold", Group: ptr("inner")}, sluice.Refused, "would be inside itself: group inner is in it")
	h.refused(control.Request{VM: "@gold", Group: ptr("batch")}, sluice.Refused, "has members")
	h.refused(control.Request{VM: "@batch", Delete: true}, "")
	h.refused(control.Request{VM: "@batch", Delete: true}, sluice.NotFound)
	h.refused(control.Request{VM: "@gold", Delete: true}, sluice.Refused, "has members: group inner, web vif 0, web vif 1",
		"first: sluice group set inner --group host, sluice set web 0 --group host, sluice set web 1 --group host")
	h.refused(control.Request{VM: "@host", Delete: true}, sluice.Invalid, "the host itself")
	h.refused(control.Request{VM: web.VM, Delete: true}, sluice.Invalid, "is no group")
	p := &control.Patch{Priority: ptr(1)}
	h.refused(control.Request{VM: "@gold", Tx: p}, sluice.Invalid, "no priority")

	// After a restart the driver hears of all of them.
	h.stop()
	h.store.Close()
	h = newLink(t, dir)
	h.run()
	h.eventually("all are applied again", func() bool { return len(h.kernel.called()) >= 5 })
	groups := h.groups()
	if len(groups) != 2 || groups[0].Name != "gold" || len(groups[0].Members) != 3 || groups[1].Parent != "gold" {
		t.Errorf("groups: %+v", groups)
	}
}

// A group's change reverts by itself as a vif's does, and can be undone.
func TestGroupLease(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	made := h.refused(of("gold", 40*sluice.Mbit, 90*sluice.Mbit), "")
	h.refused(into(web, "gold"), "")
	r := of("gold", 60*sluice.Mbit, 90*sluice.Mbit)
	r.For = time.Second
	h.refused(r, "")
	// It will be 40 again: more cannot be guaranteed.
	h.refused(guarantee(web, 41*sluice.Mbit, 0), sluice.Refused, "of group gold's 40mbit")
	h.eventually("it reverted", func() bool {
		g := h.groups()
		return len(g) == 1 && g[0].Tx.Guarantee == 40*sluice.Mbit && g[0].State == sluice.Connected
	})
	back, err := h.Changes(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Undo(t.Context(), made.ID, "root"); sluice.CodeOf(err) != sluice.Refused {
		t.Errorf("the making of a group with members was undone: %v, after %+v", err, back)
	}
	h.refused(into(web, "host"), "")
	if _, err := h.Undo(t.Context(), made.ID, "root"); err != nil {
		t.Error(err)
	}
	if g := h.groups(); len(g) != 0 {
		t.Errorf("groups: %+v", g)
	}
}

// A dry run in a group says what its neighbours in there would get.
func TestGroupEffect(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	h.refused(of("gold", 0, 60*sluice.Mbit), "")
	h.refused(into(web, "gold"), "")
	r := into(web1, "gold")
	r.DryRun = true
	c := h.refused(r, "")
	want := map[string][2]sluice.Rate{"ftp/0": {33, 50}, "web/0": {33, 25}, "web/1": {33, 25}}
	for _, e := range c.Effect {
		if got := [2]sluice.Rate{e.Tx.Before / sluice.Mbit, e.Tx.After / sluice.Mbit}; got != want[e.Key] {
			t.Errorf("%s: %d, want %d", e.Key, got, want[e.Key])
		}
	}
}

func (h *host) groups() []sluice.GroupStatus {
	h.Helper()
	all, err := h.Groups(context.Background())
	if err != nil {
		h.Fatal(err)
	}
	return all
}

func ptr[T any](v T) *T { return &v }
