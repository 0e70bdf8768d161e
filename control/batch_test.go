package control_test

import (
	"context"
	"errors"
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

// On a link that is promised whole, vifs trade what they hold: no order of
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
		t.Errorf("of 75mbit %v was promised at a moment", *most)
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
	stale.Revision, leased.For = &wrong, control.LeastLease
	for _, x := range []struct {
		all  []control.Request
		code sluice.Code
		says string
	}{
		{nil, sluice.Invalid, "0 changes"},
		{make([]control.Request, control.MostAtOnce+1), sluice.Invalid, "1001 changes"},
		{[]control.Request{guarantee(ftp, 0, 0), guarantee(ftp, m(1), 0)}, sluice.Invalid, "two changes of ftp"},
		{[]control.Request{guarantee(ftp, 0, 0), guarantee(sluice.VIF{VM: "nobody"}, m(1), 0)}, sluice.NotFound, "nobody"},
		{[]control.Request{guarantee(ftp, 0, 0), {VM: "@gold"}}, sluice.Invalid, "together"},
		{[]control.Request{stale, twoWays}, sluice.Conflict, "changed since you looked"},
		{[]control.Request{twoWays, leased}, sluice.Invalid, "come back by itself"},
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
// listed, and no moment promises more than the group or the link has.
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
