package control_test

import (
	"testing"

	"sluice"
	"sluice/control"
)

// A dry run says what every vif would get, and changes nothing.
func TestDryRunEffect(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) {
		o.Demand = func() map[string]sluice.Capacity {
			return map[string]sluice.Capacity{"ftp/0": {Tx: 5 * sluice.Mbit}, "web/0": {Tx: 80 * sluice.Mbit}}
		}
	}).run()
	h.must(ftp, 10*sluice.Mbit)
	before := h.node(web)
	r := guarantee(web, 50*sluice.Mbit, 0)
	r.DryRun = true
	c := h.ask(r)
	type row struct{ before, after, now, then sluice.Rate }
	want := map[string]row{
		"ftp/0": {10, 10, 5, 5},
		"web/0": {45, 70, 47, 72}, // 100 less ftp's, halved; then 50 and half of the rest
		"web/1": {45, 20, 47, 22}, // nobody measured what it wants
	}
	if len(c.Effect) != len(want) || c.ID != 0 {
		t.Fatalf("%+v", c)
	}
	for _, e := range c.Effect {
		got := row{before: e.Tx.Before / sluice.Mbit, after: e.Tx.After / sluice.Mbit}
		if e.Tx.Now != nil {
			got.now, got.then = e.Tx.Now.Before/sluice.Mbit, e.Tx.Now.After/sluice.Mbit
		} else if e.Key != "web/1" {
			t.Errorf("%s has no figures of now", e.Key)
		} else {
			got.now, got.then = want[e.Key].now, want[e.Key].then
		}
		if got != want[e.Key] {
			t.Errorf("%s: %+v; want %+v", e.Key, got, want[e.Key])
		}
		if e.Rx.Before != e.Rx.After {
			t.Errorf("%s: rx is not asked to change, but %+v", e.Key, e.Rx)
		}
	}
	if h.node(web) != before {
		t.Error("a dry run wrote")
	}
	if all, err := h.Changes(t.Context(), 10); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Where nobody said what the link carries, only limits are known.
func TestDryRunEffectWithoutCapacity(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Capacity = nil }).run()
	r := limit(web, 10*sluice.Mbit)
	r.DryRun = true
	for _, e := range h.ask(r).Effect {
		want := sluice.Unlimited
		if e.Key == "web/0" {
			want = 10 * sluice.Mbit
		}
		if e.Tx.Before != sluice.Unlimited || e.Tx.After != want || e.Tx.Now != nil {
			t.Errorf("%+v", e)
		}
	}
}

// Nor is more known of groups then: nobody's share of it is a number.
func TestDryRunEffectOfGroupsWithoutCapacity(t *testing.T) {
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Capacity = nil }).run()
	h.ask(of("gold", 0, 30*sluice.Mbit))
	h.ask(into(web, "gold"))
	r := into(web1, "gold")
	r.DryRun = true
	want := map[string][2]sluice.Rate{"ftp/0": {sluice.Unlimited, sluice.Unlimited}, "web/0": {30 * sluice.Mbit, 15 * sluice.Mbit}, "web/1": {sluice.Unlimited, 15 * sluice.Mbit}}
	for _, e := range h.ask(r).Effect {
		if got := [2]sluice.Rate{e.Tx.Before, e.Tx.After}; got != want[e.Key] {
			t.Errorf("%s: %s", e.Key, got)
		}
	}
}
