package control_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

// profile sets a profile's limit and guarantee in both directions.
func profile(name string, limit, guarantee sluice.Rate) control.ProfilePatch {
	p := &control.Patch{Limit: &limit, Guarantee: &guarantee}
	return control.ProfilePatch{Name: name, Tx: p, Rx: p, By: "root"}
}

func (h *host) profiles(p control.ProfilePatch) []sluice.Change {
	h.Helper()
	_, changes, err := h.SetProfiles(h.Context(), p)
	if err != nil {
		h.Fatal(err)
	}
	return changes
}

func both(limit, guarantee sluice.Rate) sluice.Allocations {
	a := sluice.Allocation{Limit: limit, Guarantee: guarantee, Weight: sluice.DefaultWeight}
	return sluice.Allocations{Tx: a, Rx: a}
}

func pointer(s string) *string { return &s }

// Who has no profile of its own has the default, what is set for a vif itself
// wins field by field, and a profile that changes is changed for all that have it.
func TestProfile(t *testing.T) {
	h := start(t)
	h.must(web, 50*sluice.Mbit)
	if changes := h.profiles(profile("small", 20*sluice.Mbit, 5*sluice.Mbit)); len(changes) != 0 {
		t.Errorf("nobody has it yet, and yet: %+v", changes)
	}
	changes := h.profiles(control.ProfilePatch{Default: pointer("small"), By: "root"})
	if len(changes) != 3 {
		t.Errorf("%d of 3 vifs changed", len(changes))
	}
	h.agree(ftp, both(20*sluice.Mbit, 5*sluice.Mbit))
	h.agree(web, both(50*sluice.Mbit, 5*sluice.Mbit)) // its own limit wins
	h.agree(web1, both(20*sluice.Mbit, 5*sluice.Mbit))

	// A new vif has it.
	db := sluice.VIF{ID: "db-1/0", VM: "db-1", Device: "tap3"}
	h.inventory.set(ftp, web, web1, db)
	h.eventually("the new one has it", func() bool { return h.node(db).Value.Terms() == both(20*sluice.Mbit, 5*sluice.Mbit) })
	h.eventually("in the kernel", func() bool { got, _ := h.kernel.has("tap3"); return got == both(20*sluice.Mbit, 5*sluice.Mbit) })
	if c, err := h.Changes(t.Context(), 1); err != nil || c[0].By != "profile small" || !c[0].Verified {
		t.Errorf("the journal: %+v, %v", c, err)
	}

	// Its name, its description, and a person's choice, each before the one before.
	h.profiles(profile("gold", 60*sluice.Mbit, 10*sluice.Mbit))
	h.profiles(profile("plan", 30*sluice.Mbit, 1*sluice.Mbit))
	if changes := h.profiles(control.ProfilePatch{Match: &sluice.Match{Pattern: "db-*", Profile: "gold"}}); len(changes) != 1 {
		t.Errorf("a pattern that one matches changed %d", len(changes))
	}
	h.agree(db, both(60*sluice.Mbit, 10*sluice.Mbit))
	described := db
	described.Profile = "plan"
	h.inventory.set(ftp, web, web1, described)
	h.eventually("its description counts", func() bool { return h.node(db).Value.Terms() == both(30*sluice.Mbit, 1*sluice.Mbit) })
	if c := h.ask(control.Request{VM: "db-1", Profile: pointer("small"), By: "root"}); c.To.Profile != "small" || !c.To.Own.Has(sluice.ByProfile) {
		t.Errorf("chosen: %+v", c.To)
	}
	h.agree(db, both(20*sluice.Mbit, 5*sluice.Mbit))
	h.ask(control.Request{VM: "db-1", Profile: pointer(""), By: "root"})
	h.agree(db, sluice.UnshapedBoth)
	h.ask(control.Request{VM: "db-1", Reset: true, By: "root"})
	h.agree(db, both(30*sluice.Mbit, 1*sluice.Mbit))

	// A profile that is changed is changed for all that have it.
	if changes := h.profiles(profile("small", 25*sluice.Mbit, 6*sluice.Mbit)); len(changes) != 3 {
		t.Errorf("of three that have it %d changed", len(changes))
	}
	h.agree(ftp, both(25*sluice.Mbit, 6*sluice.Mbit))
	h.agree(web, both(50*sluice.Mbit, 6*sluice.Mbit))

	// What the profile says cannot be undone for one: it would come again.
	c := h.must(ftp, 10*sluice.Mbit)
	if _, err := h.Undo(t.Context(), c.ID, "root"); err != nil {
		t.Errorf("undoing what was set for a vif itself: %v", err)
	}
	h.agree(ftp, both(25*sluice.Mbit, 6*sluice.Mbit))
	if _, err := h.Undo(t.Context(), c.ID-1, "root"); err == nil {
		t.Error("what a profile says was undone for one vif")
	}

	// Its own limit below what the profile guarantees: the limit wins.
	h.must(ftp, 2*sluice.Mbit)
	h.agree(ftp, both(2*sluice.Mbit, 2*sluice.Mbit))

	// After a restart all is the same.
	before := h.node(db)
	h.stop()
	h.run()
	h.eventually("it runs again", func() bool { got, _ := h.kernel.has("tap0"); return got == both(2*sluice.Mbit, 2*sluice.Mbit) })
	if h.node(db) != before {
		t.Errorf("a restart changed %+v to %+v", before, h.node(db))
	}
}

// What does not fit, or makes no sense, changes no profile and no vif.
func TestProfileRefused(t *testing.T) {
	h := start(t)
	h.profiles(profile("small", 20*sluice.Mbit, 5*sluice.Mbit))
	h.profiles(control.ProfilePatch{Default: pointer("small")})
	p, _ := h.Profiles(t.Context())
	h.ask(control.Request{VM: "ftp", Profile: pointer("small"), By: "root"})
	old := uint64(1)
	for name, c := range map[string]struct {
		p    control.ProfilePatch
		code sluice.Code
		says string
	}{
		"more than the link": {profile("small", 50*sluice.Mbit, 40*sluice.Mbit), sluice.Refused, "no profile and no vif was changed"},
		"guarantee > limit":  {profile("small", 10*sluice.Mbit, 40*sluice.Mbit), sluice.Refused, "above the limit"},
		"a name":             {profile("a b", 10*sluice.Mbit, 0), sluice.Invalid, "no name for a profile"},
		"none":               {profile("none", 10*sluice.Mbit, 0), sluice.Invalid, "no name for a profile"},
		"no such default":    {control.ProfilePatch{Default: pointer("big")}, sluice.NotFound, "none of that name"},
		"a pattern":          {control.ProfilePatch{Match: &sluice.Match{Pattern: "[", Profile: "small"}}, sluice.Invalid, "no pattern"},
		"no such pattern":    {control.ProfilePatch{Match: &sluice.Match{Pattern: "x"}}, sluice.NotFound, "no profile is given"},
		"the default":        {control.ProfilePatch{Name: "small", Delete: true}, sluice.NotFound, "the default is profile small"},
		"chosen":             {control.ProfilePatch{Name: "small", Delete: true, Default: pointer("")}, sluice.Refused, "was chosen for ftp vif 0"},
		"another revision":   {control.ProfilePatch{Name: "small", Delete: true, Revision: &old}, sluice.Conflict, "changed since you looked"},
		"no such group":      {control.ProfilePatch{Name: "small", Group: pointer("nobody")}, sluice.NotFound, "no group"},
	} {
		_, _, err := h.SetProfiles(t.Context(), c.p)
		if sluice.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now, err := h.Profiles(t.Context()); err != nil || now.Revision != p.Revision {
		t.Errorf("%+v, %v", now, err)
	}
	h.agree(web, both(20*sluice.Mbit, 5*sluice.Mbit))
	if _, err := h.Set(t.Context(), control.Request{VM: "web", Profile: pointer("big")}); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("a profile that is not there: %v", err)
	}
	if _, err := h.Set(t.Context(), control.Request{VM: "@gold", Profile: pointer("small")}); sluice.CodeOf(err) != sluice.Invalid {
		t.Errorf("a group's profile: %v", err)
	}
}

// A batch that fails in the middle is taken back, and the profile with it.
func TestProfileTakenBack(t *testing.T) {
	h := start(t)
	h.profiles(profile("small", 20*sluice.Mbit, 0))
	h.profiles(control.ProfilePatch{Default: pointer("small")})
	h.kernel.interfere(refuse("tap1", 30*sluice.Mbit))
	if _, _, err := h.SetProfiles(t.Context(), profile("small", 30*sluice.Mbit, 0)); err == nil {
		t.Fatal("the driver refuses one of three, and all is well")
	}
	h.kernel.interfere(nil)
	for _, v := range []sluice.VIF{ftp, web, web1} {
		h.agree(v, limited(20*sluice.Mbit))
	}
	p, err := h.Profiles(t.Context())
	if x, _ := p.Find("small"); err != nil || x.Tx.Limit != 20*sluice.Mbit {
		t.Errorf("the profile is %s, %v", x.Allocations, err)
	}
}

// Where there is no room for what a profile guarantees, a new vif has the rest,
// and has it when there is room.
func TestProfileWithoutRoom(t *testing.T) {
	h := start(t)
	h.profiles(profile("small", 50*sluice.Mbit, 30*sluice.Mbit))
	h.profiles(control.ProfilePatch{Default: pointer("small")})
	db := sluice.VIF{ID: "db/0", VM: "db", Device: "tap3"}
	h.inventory.set(ftp, web, web1, db)
	h.eventually("it has the rest", func() bool { return h.node(db).Value.Terms() == both(50*sluice.Mbit, 0) })
	c, err := h.Changes(t.Context(), 1)
	if err != nil || !strings.Contains(c[0].By, "without its guarantee") {
		t.Errorf("the journal: %+v, %v", c, err)
	}
	none := sluice.Rate(0)
	h.ask(control.Request{VM: "web", Tx: &control.Patch{Guarantee: &none}, Rx: &control.Patch{Guarantee: &none}, By: "root"})
	h.eventually("it has all", func() bool { return h.node(db).Value.Terms() == both(50*sluice.Mbit, 30*sluice.Mbit) })
}

// refuse has the driver refuse a limit on a device.
func refuse(device string, rate sluice.Rate) func(ctx context.Context, v sluice.VIF, want sluice.Allocations) error {
	return func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		if v.Device == device && want.Tx.Limit == rate {
			return errors.New("the kernel says EBUSY")
		}
		return nil
	}
}

// What only a profile gave to a vif that has gone for long is dropped; what was
// set for a vif itself is kept.
func TestProfileLeaves(t *testing.T) {
	h := start(t)
	h.must(web, 50*sluice.Mbit)
	h.profiles(profile("small", 20*sluice.Mbit, 5*sluice.Mbit))
	h.profiles(control.ProfilePatch{Default: pointer("small")})
	h.inventory.set(web1)
	gone := make(map[string]time.Time)
	h.Leave(t.Context(), gone)
	if len(gone) != 1 || gone["ftp/0"].IsZero() {
		t.Errorf("gone: %v", gone)
	}
	if absent, err := h.Absent(t.Context()); err != nil || len(absent) != 2 {
		t.Errorf("at once %d are kept, %v", len(absent), err)
	}
	gone["ftp/0"] = time.Now().Add(-time.Hour)
	h.Leave(t.Context(), gone)
	if absent, err := h.Absent(t.Context()); err != nil || len(absent) != 1 || absent[0].VM != "web" {
		t.Errorf("an hour later: %+v, %v", absent, err)
	}
}

// What is dropped of a vif that has gone is given to one that lacks it, at once.
func TestProfileLeavesRoom(t *testing.T) {
	h := start(t)
	h.profiles(profile("small", 50*sluice.Mbit, 30*sluice.Mbit))
	h.profiles(control.ProfilePatch{Default: pointer("small")})
	db := sluice.VIF{ID: "db/0", VM: "db", Device: "tap3"}
	h.inventory.set(web, web1, db)
	h.eventually("it has the rest", func() bool { return h.node(db).Value.Terms() == both(50*sluice.Mbit, 0) })
	h.Leave(t.Context(), map[string]time.Time{"ftp/0": time.Now().Add(-time.Hour)})
	h.eventually("it has all", func() bool { return h.node(db).Value.Terms() == both(50*sluice.Mbit, 30*sluice.Mbit) })
}
