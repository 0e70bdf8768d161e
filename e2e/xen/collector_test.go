package xen_test

import (
	"context"
	"testing"
	"time"

	"sluice"
	"sluice/xen"
	"sluice/xen/xenstore"
)

// TestCollector publishes a sample from a domain, this one, by the device that
// every domain has, and reads it as dom0 does.
func TestCollector(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	inside, err := xenstore.Dial(ctx, xenstore.Device)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := xenstore.Dial(ctx, xenstore.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if _, err := xen.Published(ctx, outside, 0); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("before anything was published: %v", err)
	}
	p := xen.Publisher{Store: inside}
	s := sluice.Sample{ID: 1, At: time.Now(), Span: time.Second}
	for range 20 { // more than fit
		s.NICs = append(s.NICs, sluice.NICUsage{Name: "eth0", MAC: "00:16:3e:07:01:00", Tx: sluice.Counters{Bytes: 1 << 40}})
	}
	if err := p.Publish(ctx, s); err != nil {
		t.Fatal(err)
	}
	s.ID = 2
	if err := p.Publish(ctx, s); err != nil { // too soon: left out
		t.Fatal(err)
	}
	got, err := xen.Published(ctx, outside, 0)
	if err != nil || got.ID != 1 || len(got.NICs) == 0 || len(got.NICs) == 20 || got.NICs[0].Tx.Bytes != 1<<40 {
		t.Errorf("published %+v, %v", got, err)
	}
	if err := outside.Remove(ctx, "/local/domain/0/data/sluice"); err != nil {
		t.Error(err)
	}
}
