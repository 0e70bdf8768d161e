package control_test

import (
	"strings"
	"testing"

	"sluice"
)

// TestRepaired: what a driver found in the kernel is a record of the journal
// that changed nothing, and can neither be undone nor confirmed.
func TestRepaired(t *testing.T) {
	h := start(t)
	set := h.must(web, 10*sluice.Mbit)
	published := h.Watch(t.Context())
	for _, c := range []struct {
		told     sluice.Repair
		vm, note string
		vif      int
		now      sluice.Allocations
	}{
		{sluice.Repair{Key: web.Key(), Text: "restored: tx class", Enforced: true}, "web", "repaired by sluice: restored: tx class", 0, limited(10 * sluice.Mbit)},
		{sluice.Repair{Key: ftp.Key(), Text: "tap0 has an ingress qdisc"}, "ftp", "not enforced: tap0 has an ingress qdisc", 0, sluice.UnshapedBoth},
		{sluice.Repair{Key: "gone/0", Text: "no device"}, "gone", "not enforced: no device", 0, sluice.UnshapedBoth},
		{sluice.Repair{Text: "restored: tx root class", Enforced: true}, "@host", "repaired by sluice: restored: tx root class", -1, sluice.UnshapedBoth},
	} {
		h.Repaired(t.Context(), c.told)
		got := <-published
		for got.Note == "" { // the steps of the change before
			got = <-published
		}
		if got.VM != c.vm || got.VIF != c.vif || got.Note != c.note || got.Verified != c.told.Enforced || got.From.Terms() != c.now || got.To.Terms() != c.now || got.By != "sluice" {
			t.Errorf("%+v", got)
		}
		all, err := h.store.Changes(t.Context(), 1)
		if err != nil || len(all) != 1 || all[0].ID != got.ID || all[0].ID <= set.ID || all[0].Note != c.note {
			t.Errorf("the journal has %+v, %v", all, err)
		}
		for what, ask := range map[string]func() (sluice.Change, error){
			"undo":    func() (sluice.Change, error) { return h.Undo(t.Context(), got.ID, "root") },
			"confirm": func() (sluice.Change, error) { return h.Confirm(t.Context(), got.ID, "root") },
		} {
			if _, err := ask(); sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "changed no setting") {
				t.Errorf("%s of %q: %v", what, c.note, err)
			}
		}
	}
	if _, err := h.Undo(t.Context(), set.ID, "root"); err != nil {
		t.Errorf("the change before them: %v", err)
	}
}
