package control_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

// ledger has the kernel note the most that it ever enforced at once.
func (h *host) ledger() (most *sluice.Capacity) {
	var mu sync.Mutex
	most = new(sluice.Capacity)
	held := make(map[string]sluice.Allocations)
	for _, v := range h.inventory.VIFs() {
		held[v.Device], _ = h.kernel.has(v.Device)
	}
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		mu.Lock()
		defer mu.Unlock()
		held[v.Device] = want
		var now sluice.Capacity
		for _, a := range held {
			now.Tx, now.Rx = now.Tx+a.Tx.Guarantee, now.Rx+a.Rx.Guarantee
		}
		most.Tx, most.Rx = max(most.Tx, now.Tx), max(most.Rx, now.Rx)
		return nil
	})
	return most
}

func (h *host) guarantees(vifs ...sluice.VIF) (all [][2]sluice.Rate) {
	for _, v := range vifs {
		a, _ := h.kernel.has(v.Device)
		all = append(all, [2]sluice.Rate{a.Tx.Guarantee, a.Rx.Guarantee})
	}
	return all
}

// On a link that is guaranteed whole, vifs trade what they hold: no order of
// single changes can do that for both directions.
func TestTrade(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	if _, err := h.SetAll(t.Context(), []control.Request{guarantee(ftp, m(50), m(20)), guarantee(web, m(20), m(50)), guarantee(web1, m(5), m(5))}); err != nil {
		t.Fatal(err)
	}
	most := h.ledger()
	changes, err := h.SetAll(t.Context(), []control.Request{guarantee(ftp, m(20), m(50)), guarantee(web, m(50), m(20))})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.guarantees(ftp, web, web1); got[0] != [2]sluice.Rate{m(20), m(50)} || got[1] != [2]sluice.Rate{m(50), m(20)} || got[2] != [2]sluice.Rate{m(5), m(5)} {
		t.Errorf("the kernel has %v", got)
	}
	if most.Tx > m(75) || most.Rx > m(75) {
		t.Errorf("of 75mbit %v was guaranteed at a moment", *most)
	}
	if len(changes) != 4 {
		t.Errorf("each gives and takes: %d changes", len(changes))
	}
	for _, c := range changes {
		if c.Result != sluice.Done || c.By != "root" {
			t.Errorf("%+v", c)
		}
	}
}

// What cannot be made as a whole changes nothing.
func TestBatchBadInput(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	if _, err := h.SetAll(t.Context(), []control.Request{guarantee(ftp, m(30), 0), guarantee(web, m(30), 0)}); err != nil {
		t.Fatal(err)
	}
	before := h.kernel.called()
	wrong := uint64(99)
	stale, leased, empty, twoWays := guarantee(ftp, 0, 0), guarantee(ftp, 0, 0), control.Request{VM: "ftp"}, guarantee(web, m(20), 0)
	stale.Revision, leased.For = &wrong, control.LeastLease/2
	for _, x := range []struct {
		all  []control.Request
		code sluice.Code
		says string
	}{
		{nil, sluice.Invalid, "0 changes"},
		{make([]control.Request, control.MostAtOnce+1), sluice.Invalid, "1001 changes"},
		{[]control.Request{guarantee(ftp, 0, 0), guarantee(ftp, m(1), 0)}, sluice.Invalid, "two changes of ftp"},
		{[]control.Request{guarantee(ftp, 0, 0), guarantee(sluice.VIF{VM: "nobody"}, m(1), 0)}, sluice.NotFound, "nobody"},
		{[]control.Request{guarantee(ftp, 0, 0), {VM: "@gold"}}, sluice.Invalid, "sets nothing"},
		{[]control.Request{guarantee(ftp, 0, 0), {VM: "@gold", Delete: true}}, sluice.NotFound, "gold"},
		{[]control.Request{of("gold", m(10), m(50)), into(ftp, "gold")}, sluice.Refused, "group gold"},
		{[]control.Request{stale, twoWays}, sluice.Conflict, "changed since you looked"},
		{[]control.Request{twoWays, leased}, sluice.Invalid, "outside 1s"},
		{[]control.Request{twoWays, empty}, sluice.Invalid, "sets nothing"},
		{[]control.Request{guarantee(ftp, m(20), 0), guarantee(web, m(40), 0), guarantee(web1, m(16), 0)}, sluice.Refused, "15mbit is free"},
		{[]control.Request{guarantee(ftp, m(20), 0), guarantee(web1, m(101), 0)}, sluice.Invalid, "101mbit"},
	} {
		changes, err := h.SetAll(t.Context(), x.all)
		if code := sluice.CodeOf(err); len(changes) > 0 || code != x.code && !(x.says == "101mbit" && code == sluice.Refused) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s, want %s and %q: %v", code, x.code, x.says, err)
		}
	}
	if after := h.kernel.called(); len(after) != len(before) {
		t.Errorf("refused, but the driver did %v", after[len(before):])
	}
}

// One that the kernel refuses takes the others back, also those that gave.
func TestBatchFails(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	if _, err := h.SetAll(t.Context(), []control.Request{guarantee(ftp, m(40), 0), guarantee(web, m(30), 0)}); err != nil {
		t.Fatal(err)
	}
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		if v == web1 && want.Tx.Guarantee > 0 {
			return errors.New("no")
		}
		return nil
	})
	_, err := h.SetAll(t.Context(), []control.Request{guarantee(web1, m(5), 0), guarantee(web, m(50), 0), guarantee(ftp, m(20), 0)})
	if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(err.Error(), "all vifs have what they had") {
		t.Errorf("%v", err)
	}
	if got := h.guarantees(ftp, web, web1); got[0][0] != m(40) || got[1][0] != m(30) || got[2][0] != 0 {
		t.Errorf("the kernel has %v", got)
	}
}

// A rehearsal of all says what all of them do together.
func TestBatchDryRun(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	all := []control.Request{guarantee(ftp, m(50), 0), guarantee(web, m(20), 0)}
	all[0].DryRun = true
	changes, err := h.SetAll(t.Context(), all)
	if err != nil || len(changes) != 2 || len(changes[1].Effect) != 3 {
		t.Fatalf("%+v, %v", changes, err)
	}
	for _, e := range changes[1].Effect {
		if e.VM == "ftp" && (e.Tx.After < m(50) || e.Tx.Before > m(34)) {
			t.Errorf("ftp: %+v", e.Tx)
		}
	}
	if got := h.guarantees(ftp, web); got[0][0] != 0 || got[1][0] != 0 {
		t.Errorf("the kernel has %v", got)
	}
}

// What one leaves behind in a group, another takes: in whatever order they are
// listed, and no moment guarantees more than the group or the link has.
func TestBatchMoves(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	h.ask(of("gold", m(40), m(90)))
	gold, out := guarantee(ftp, m(40), m(40)), into(web, "host")
	gold.Group = ptr("gold")
	first := guarantee(web, m(35), m(35))
	first.Group = gold.Group
	h.ask(first)
	late := make(chan struct{}, 1)
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		switch {
		case v == web && want.Group == "": // it takes its time to leave
			time.Sleep(50 * time.Millisecond)
			late <- struct{}{}
		case v == ftp && want.Group == "gold":
			select {
			case <-late:
			default:
				t.Error("ftp has what web has not left yet")
			}
		}
		return nil
	})
	if changes, err := h.SetAll(t.Context(), []control.Request{gold, out}); err != nil || len(changes) != 2 {
		t.Fatalf("%+v, %v", changes, err)
	}
	// Two full groups do not trade places: it says so, and of neither half a change.
	h.kernel.interfere(nil)
	h.ask(guarantee(web, 0, 0))
	h.ask(of("iron", m(35), m(90)))
	iron := guarantee(web, m(35), m(35))
	iron.Group = ptr("iron")
	h.ask(iron)
	gold, iron = guarantee(web, m(35), m(35)), guarantee(ftp, m(35), m(35))
	gold.Group, iron.Group = ptr("gold"), ptr("iron")
	_, err := h.SetAll(t.Context(), []control.Request{gold, iron})
	if sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("%v", err)
	}
}

// Priority goes with the guarantee that it counts within, also where the other
// direction waits for room.
func TestBatchGivesPriority(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	r := guarantee(ftp, m(75), 0)
	r.Tx.Priority = ptr(1)
	if _, err := h.SetAll(t.Context(), []control.Request{r, guarantee(web, 0, m(75))}); err != nil {
		t.Fatal(err)
	}
	r = guarantee(ftp, 0, m(75))
	r.Tx.Priority = ptr(0)
	if _, err := h.SetAll(t.Context(), []control.Request{r, guarantee(web, m(75), 0)}); err != nil {
		t.Error(err)
	}
	if got := h.guarantees(ftp, web); got[0] != [2]sluice.Rate{0, m(75)} || got[1] != [2]sluice.Rate{m(75), 0} {
		t.Errorf("the kernel has %v", got)
	}
}

// Groups are made before their members come, and deleted after they have
// left, in whatever order they stand; what fails takes all of it back.
func TestBatchGroups(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	joins := func(v sluice.VIF, group string, g sluice.Rate) control.Request {
		r := guarantee(v, g, g)
		r.Group = &group
		return r
	}
	inner := of("inner", m(20), m(40))
	gold := "gold"
	inner.Group = &gold
	all := []control.Request{joins(ftp, "inner", m(20)), joins(web, "gold", m(10)), inner, of("gold", m(30), m(60))}
	rehearsal := append([]control.Request{}, all...)
	rehearsal[0].DryRun = true
	would, err := h.SetAll(t.Context(), rehearsal)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range would[len(would)-1].Effect {
		if e.VM == "ftp" && e.Tx.After > m(40) {
			t.Errorf("in group inner, of 40mbit, ftp would get %s", e.Tx.After)
		}
	}
	if len(h.kernel.called()) != 0 {
		t.Error("a rehearsal reached the kernel")
	}
	if _, err := h.SetAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if a, _ := h.kernel.has(ftp.Device); a.Group != "inner" || a.Tx.Guarantee != m(20) {
		t.Errorf("the kernel has %s", a)
	}
	// The kernel refuses one: the groups are as they were, and there are no others.
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		if v == web1 && want.Group == "new" {
			return errors.New("no")
		}
		return nil
	})
	_, err = h.SetAll(t.Context(), []control.Request{of("new", 0, m(50)), joins(web, "new", 0), joins(web1, "new", 0), joins(ftp, "host", 0), {VM: "@inner", Delete: true}})
	if sluice.CodeOf(err) != sluice.NotApplied || !strings.Contains(err.Error(), "none is in force") {
		t.Errorf("%v", err)
	}
	h.kernel.interfere(nil)
	groups := func() (names []string) {
		all, err := h.Groups(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			names = append(names, g.Name)
		}
		return names
	}
	if got := groups(); !slices.Equal(got, []string{"gold", "inner"}) {
		t.Errorf("there are groups %v", got)
	}
	if a, _ := h.kernel.has(ftp.Device); a.Group != "inner" || a.Tx.Guarantee != m(20) {
		t.Errorf("the kernel has %s", a)
	}
	// All of it again, backwards.
	if _, err := h.SetAll(t.Context(), []control.Request{{VM: "@gold", Delete: true}, {VM: "@inner", Delete: true}, joins(ftp, "host", 0), joins(web, "host", 0)}); err != nil {
		t.Fatal(err)
	}
	if got := groups(); len(got) != 0 {
		t.Errorf("there are groups %v", got)
	}
}

// Changes of a batch may revert by themselves: until then what they go back to
// is counted too.
func TestBatchReverts(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	m := func(n int) sluice.Rate { return sluice.Rate(n) * sluice.Mbit }
	if _, err := h.SetAll(t.Context(), []control.Request{guarantee(ftp, m(40), m(40)), guarantee(web, m(20), m(20))}); err != nil {
		t.Fatal(err)
	}
	less, more := guarantee(ftp, m(20), m(20)), guarantee(web, m(40), m(40))
	less.For, more.For = control.LeastLease, control.LeastLease
	if _, err := h.SetAll(t.Context(), []control.Request{less, more}); sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "35mbit is free") {
		t.Errorf("ftp will have 40mbit again: %v", err)
	}
	more = guarantee(web, m(35), m(35))
	more.For, more.Confirm = 0, time.Minute
	changes, err := h.SetAll(t.Context(), []control.Request{less, more})
	if err != nil || len(changes) != 2 || changes[0].Until == nil || !changes[1].Confirm {
		t.Fatalf("%+v, %v", changes, err)
	}
	if _, err := h.Confirm(t.Context(), changes[1].ID, "root"); err != nil {
		t.Error(err)
	}
	until := time.Now().Add(10 * time.Second)
	for h.guarantees(ftp)[0][0] != m(40) && time.Now().Before(until) {
		time.Sleep(20 * time.Millisecond)
	}
	if got := h.guarantees(ftp, web); got[0][0] != m(40) || got[1][0] != m(35) {
		t.Errorf("the kernel has %v", got)
	}
}
