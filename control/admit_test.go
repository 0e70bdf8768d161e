package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice"
	"sluice/control"
)

func guarantee(v sluice.VIF, tx, rx sluice.Rate) control.Request {
	return control.Request{VM: v.VM, VIF: v.Index, Tx: &control.Patch{Guarantee: &tx}, Rx: &control.Patch{Guarantee: &rx}, By: "root"}
}

// newLink is a host of 100 Mbit/s of which 75 may be guaranteed.
func newLink(t *testing.T, dir string) *host {
	t.Helper()
	return newHost(t, dir, func(o *control.Options) { o.Reserve = 25 })
}

// What is guaranteed never exceeds the link less its reserve; a refusal says
// what is free, who holds how much, and what would fit.
func TestAdmission(t *testing.T) {
	dir := t.TempDir()
	h := newLink(t, dir).run()
	set := func(r control.Request, code sluice.Code, says ...string) {
		t.Helper()
		_, err := h.Set(t.Context(), r)
		if sluice.CodeOf(err) != code {
			t.Fatalf("%v; want code %q", err, code)
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v; want %q", err, s)
			}
		}
	}
	set(guarantee(ftp, 76*sluice.Mbit, 0), sluice.Refused, "tx guarantee 76mbit for ftp vif 0 does not fit",
		"75mbit is free of 75mbit, the link's 100mbit less a reserve of 25 %", "nobody holds any", "at most 75mbit", "ftp vif 0 keeps unlimited")
	set(guarantee(ftp, 40*sluice.Mbit, 10*sluice.Mbit), "")
	set(guarantee(web, 30*sluice.Mbit, 65*sluice.Mbit), "")
	set(guarantee(web1, 6*sluice.Mbit, 0), sluice.Refused, "5mbit is free", "ftp vif 0 holds 40mbit, web vif 0 holds 30mbit", "at most 5mbit")
	set(guarantee(web1, 0, sluice.Mbit), sluice.Refused, "rx guarantee 1mbit", "0bit is free", "web vif 0 holds 65mbit, ftp vif 0 holds 10mbit", "lower another's guarantee by 1mbit")
	h.agree(web1, sluice.UnshapedBoth)
	set(guarantee(web1, 5*sluice.Mbit, 0), "")
	// Its own does not count twice, and less is always possible.
	set(guarantee(ftp, 41*sluice.Mbit, 0), sluice.Refused, "at most 40mbit")
	set(guarantee(ftp, 20*sluice.Mbit, 0), "")
	set(guarantee(ftp, 41*sluice.Mbit, 0), sluice.Refused, "40mbit is free")

	// It survives a restart, also for a VM that is not there then.
	h.stop()
	h.store.Close()
	h = newLink(t, dir)
	h.inventory.set(ftp, web1)
	h.run()
	set(guarantee(ftp, 41*sluice.Mbit, 0), sluice.Refused, "40mbit is free", "web vif 0 (absent) holds 30mbit")
	set(guarantee(ftp, 40*sluice.Mbit, 0), "")
	// A dry run is refused for the same.
	dry := guarantee(web1, 6*sluice.Mbit, 0)
	dry.DryRun = true
	set(dry, sluice.Refused, "5mbit is free")
}

// Many at once never get more than there is, whatever the driver is doing.
func TestAdmissionAtOnce(t *testing.T) {
	h := newLink(t, t.TempDir())
	var vifs []sluice.VIF
	for i := range 20 {
		vifs = append(vifs, sluice.VIF{VM: "vm", Index: i, Device: "tap" + string(rune('a'+i))})
	}
	h.inventory.set(vifs...)
	h.run()
	var got, others atomic.Int32
	var all sync.WaitGroup
	for _, v := range vifs {
		all.Go(func() {
			switch _, err := h.Set(context.Background(), guarantee(v, 10*sluice.Mbit, 0)); sluice.CodeOf(err) {
			case "":
				got.Add(1)
			case sluice.Refused:
			default:
				others.Add(1)
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got.Load() != 7 {
		t.Errorf("%d of 20 got 10mbit of 75mbit; want 7", got.Load())
	}
}

// A guarantee that is being lowered is held until it has been: the kernel may
// yet refuse, and the change be undone.
func TestAdmissionHoldsWhatMayComeBack(t *testing.T) {
	h := newLink(t, t.TempDir()).run()
	if _, err := h.Set(t.Context(), guarantee(ftp, 60*sluice.Mbit, 0)); err != nil {
		t.Fatal(err)
	}
	begun, fail := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.kernel.interfere(func(_ context.Context, v sluice.VIF, want sluice.Allocations) error {
		if v == ftp && want.Tx.Guarantee == 0 {
			once.Do(func() { close(begun) })
			<-fail
			return errors.New("no")
		}
		return nil
	})
	lowered := make(chan error)
	go func() {
		_, err := h.Set(context.Background(), guarantee(ftp, 0, 0))
		lowered <- err
	}()
	<-begun
	if _, err := h.Set(t.Context(), guarantee(web, 60*sluice.Mbit, 0)); sluice.CodeOf(err) != sluice.Refused || !strings.Contains(err.Error(), "15mbit is free") {
		t.Errorf("while it is being lowered: %v", err)
	}
	close(fail)
	if err := <-lowered; sluice.CodeOf(err) != sluice.NotApplied {
		t.Errorf("%v", err)
	}
	// And one that was lowered for a while only.
	h.kernel.interfere(nil)
	r := guarantee(ftp, 0, 0)
	r.For = control.MostLease
	if _, err := h.Set(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Set(t.Context(), guarantee(web, 60*sluice.Mbit, 0)); sluice.CodeOf(err) != sluice.Refused {
		t.Errorf("while it is lent: %v", err)
	}
	if _, err := h.Set(t.Context(), guarantee(ftp, 60*sluice.Mbit, 0)); err != nil {
		t.Errorf("what it holds anyway: %v", err)
	}
}
