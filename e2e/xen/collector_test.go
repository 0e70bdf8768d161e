package xen_test

import (
	"strings"
	"testing"

	"sluice"
)

// TestCollectors has the guests' own word beside the host's counters: the first
// is asked over TCP, the third can only tell by xenstore, the second is silent.
func TestCollectors(t *testing.T) {
	d, guests := guests(t, 3)
	d.set(t, "vm3", 0, limit(8*sluice.Mbit), limit(sluice.Unlimited))
	agreed := func(v sluice.VIFStatus) bool {
		return v.Source == sluice.SourceGuest && v.Guest != nil && !v.Guest.Disagrees && v.Problem == ""
	}
	eventually(t, "both collectors heard", func() bool {
		return agreed(d.vifs(t, guests[0].uuid)[0]) && agreed(d.vifs(t, guests[2].uuid)[0])
	})
	if v := d.vifs(t, guests[1].uuid)[0]; v.Source != sluice.SourceHost || v.Problem != "" {
		t.Errorf("of the guest without a collector the daemon says %s, %q", v.Source, v.Problem)
	}
	wait := guests[2].stream(20, "-R")
	eventually(t, "the third to tell what it sends, as the host sees it", func() bool {
		v := d.vifs(t, guests[2].uuid)[0]
		return agreed(v) && v.Guest.Tx > 7*sluice.Mbit && v.Guest.Tx < 9*sluice.Mbit && v.Tx.Usage > 7*sluice.Mbit && v.Tx.Usage < 9*sluice.Mbit
	})
	if out := must(t, "xenstore-ls /local/domain/"+must(t, "xl domid vm3")+"/data"); !strings.Contains(out, "usage") {
		t.Errorf("in xenstore there is only\n%s", out)
	}
	t.Logf("what the daemon lists:\n%s", d.sluice(t, "list"))
	if _, err := wait(); err != nil {
		t.Error(err)
	}
}
