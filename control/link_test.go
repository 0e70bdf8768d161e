package control_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"sluice"
	"sluice/control"
)

// wire is a link whose capacity changes.
type wire struct {
	mu  sync.Mutex
	now sluice.Capacity
}

func (w *wire) capacity() sluice.Capacity {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *wire) put(_ context.Context, c sluice.Capacity) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = c
	return nil
}

// carry asks for a capacity in both directions, reserving for a reserve in percent, too.
func carry(to sluice.Capacity) control.LinkPatch { return control.LinkPatch{Tx: &to.Tx, Rx: &to.Rx} }

func reserving(to sluice.Capacity, percent int) control.LinkPatch {
	return control.LinkPatch{Tx: &to.Tx, Rx: &to.Rx, Reserve: &percent}
}

// One client sets tx, another rx, a third the reserve, and the settings come
// between them: nobody loses what only it sets.
func TestSetLinkTogether(t *testing.T) {
	w := &wire{now: sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit}}
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Capacity, o.PutCapacity = w.capacity, w.put })
	var clients sync.WaitGroup
	for _, set := range []func(n int) (control.LinkPatch, func(sluice.Link) bool){
		func(n int) (control.LinkPatch, func(sluice.Link) bool) {
			r := sluice.Rate(n) * sluice.Mbit
			return control.LinkPatch{Tx: &r}, func(l sluice.Link) bool { return l.Capacity.Tx == r }
		},
		func(n int) (control.LinkPatch, func(sluice.Link) bool) {
			r := sluice.Rate(n) * sluice.Mbit
			return control.LinkPatch{Rx: &r}, func(l sluice.Link) bool { return l.Capacity.Rx == r }
		},
		func(n int) (control.LinkPatch, func(sluice.Link) bool) {
			then := 0
			return control.LinkPatch{Reserve: &n, Then: func(context.Context) error { then++; return nil }},
				func(l sluice.Link) bool { return l.Reserve == n && then == 1 }
		},
	} {
		clients.Go(func() {
			for n := 1; n < 100; n++ {
				patch, holds := set(n)
				told, err := h.SetLink(t.Context(), patch)
				now, linkErr := h.Link(t.Context())
				if err != nil || linkErr != nil || !holds(told) || !holds(now) {
					t.Errorf("after change %d: told %+v, %v; now %+v, %v", n, told, err, now, linkErr)
					return
				}
			}
		})
	}
	clients.Wait()
}

// The capacity changes live, never below what is guaranteed.
func TestSetCapacity(t *testing.T) {
	w := &wire{now: sluice.Capacity{Tx: sluice.Unlimited, Rx: sluice.Unlimited}}
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Capacity, o.PutCapacity, o.Reserve = w.capacity, w.put, 25 }).run()
	// Of a link that nobody knows nothing is guaranteed.
	if _, err := h.Set(t.Context(), guarantee(ftp, 50*sluice.Mbit, 0)); sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "sluice capacity RATE first") {
		t.Errorf("a guarantee without a capacity: %v", err)
	}
	if _, err := h.SetLink(t.Context(), carry(sluice.Capacity{Tx: 10 * sluice.Gbit, Rx: 10 * sluice.Gbit})); err != nil {
		t.Fatal(err)
	}
	h.ask(guarantee(ftp, 50*sluice.Mbit, 10*sluice.Mbit))
	h.ask(guarantee(web, 10*sluice.Mbit, 0))
	for to, says := range map[sluice.Capacity]string{
		{Tx: 79 * sluice.Mbit, Rx: sluice.Gbit}: "a tx capacity of 79mbit less a reserve of 25 % is less than the 60mbit guaranteed: ftp vif 0 holds 50mbit, web vif 0 holds 10mbit; " +
			"the link keeps tx 10gbit, rx 10gbit (try: at least 80mbit, or lower guarantees by 750kbit first)",
		{Tx: sluice.Unlimited, Rx: sluice.Gbit}: "a tx capacity that nobody knows cannot hold the 60mbit guaranteed",
		{Tx: sluice.Gbit, Rx: 13 * sluice.Mbit}: "at least 13.333333mbit",
		{Tx: 0, Rx: sluice.Gbit}:                "a tx capacity of 0bit carries nothing",
	} {
		if _, err := h.SetLink(t.Context(), carry(to)); err == nil || !strings.Contains(err.Error(), says) || w.capacity().Tx != 10*sluice.Gbit {
			t.Errorf("%v: %v; want %q", to, err, says)
		}
	}
	link, err := h.SetLink(t.Context(), carry(sluice.Capacity{Tx: 80 * sluice.Mbit, Rx: 100 * sluice.Mbit}))
	if err != nil || link.Guaranteed != (sluice.Capacity{Tx: 60 * sluice.Mbit, Rx: 10 * sluice.Mbit}) || link.Capacity != w.capacity() || link.Reserve != 25 {
		t.Fatalf("%+v, %v", link, err)
	}
	h.eventually("now it is shared by all", func() bool { _, ok := h.kernel.has(web1.Device); return ok })
	if _, err := h.Set(t.Context(), guarantee(web1, sluice.Mbit, 0)); sluice.CodeOf(err) != sluice.Refused {
		t.Errorf("more than the new link has: %v", err)
	}
	if _, err := h.SetLink(t.Context(), carry(sluice.Capacity{Tx: 90 * sluice.Mbit, Rx: 100 * sluice.Mbit})); err != nil {
		t.Error(err)
	}
	h.ask(guarantee(web1, sluice.Mbit, 0))
}

// Refused in both directions, it says what is enough for both; and the reserve
// changes likewise. What it says is exact.
func TestSetLink(t *testing.T) {
	w := &wire{now: sluice.Capacity{Tx: 100 * sluice.Mbit, Rx: 100 * sluice.Mbit}}
	h := newHost(t, t.TempDir(), func(o *control.Options) { o.Capacity, o.PutCapacity, o.Reserve = w.capacity, w.put, 25 }).run()
	h.ask(guarantee(ftp, 10*sluice.Mbit, 70*sluice.Mbit))
	both := func(r sluice.Rate) sluice.Capacity { return sluice.Capacity{Tx: r, Rx: r} }
	refused := func(err error, says string) {
		t.Helper()
		if sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want %q", err, says)
		}
	}
	_, err := h.SetLink(t.Context(), carry(both(10*sluice.Mbit)))
	refused(err, "a rx capacity of 10mbit less a reserve of 25 % is less than the 70mbit guaranteed: ftp vif 0 holds 70mbit; the link keeps tx 100mbit, rx 100mbit (try: at least 93.333333mbit")
	_, err = h.SetLink(t.Context(), carry(both(93_333_332)))
	refused(err, "at least 93.333333mbit")
	if _, err := h.SetLink(t.Context(), carry(both(93_333_333))); err != nil {
		t.Error(err)
	}
	_, err = h.SetLink(t.Context(), reserving(both(100*sluice.Mbit), 50))
	refused(err, "a rx capacity of 100mbit less a reserve of 50 % is less than the 70mbit guaranteed: ftp vif 0 holds 70mbit; the link keeps tx 93.333333mbit, rx 93.333333mbit "+
		"(try: a capacity of at least 140mbit, or a reserve of at most 30 %, or lower guarantees by 20mbit first)")
	_, err = h.SetLink(t.Context(), reserving(both(100*sluice.Mbit), 31))
	refused(err, "at most 30 %")
	_, err = h.Set(t.Context(), guarantee(web, sluice.Mbit, sluice.Mbit))
	refused(err, "less a reserve of 25 %")
	if link, err := h.SetLink(t.Context(), reserving(both(100*sluice.Mbit), 30)); err != nil || link.Reserve != 30 {
		t.Errorf("%+v, %v", link, err)
	}
	if link, err := h.SetLink(t.Context(), reserving(both(100*sluice.Mbit), 0)); err != nil || link.Reserve != 0 {
		t.Errorf("%+v, %v", link, err)
	}
	h.ask(guarantee(web, 30*sluice.Mbit, 30*sluice.Mbit))
}

func TestCapacityThatIsFixed(t *testing.T) {
	h := newHost(t, t.TempDir(), nil)
	if _, err := h.SetLink(t.Context(), carry(sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Gbit})); sluice.CodeOf(err) != sluice.Unsupported {
		t.Error(err)
	}
}
