package etcd_test

import (
	"context"
	"log/slog"
	"testing"

	"sluice"
	"sluice/etcd"
)

// What the link was said to carry holds over restarts, until it is forgotten.
func TestCapacity(t *testing.T) {
	dir := t.TempDir()
	open := func() *etcd.Store {
		s, err := etcd.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if _, ok, err := s.Capacity(t.Context()); ok || err != nil {
		t.Errorf("said already: %v", err)
	}
	want := sluice.Capacity{Tx: sluice.Gbit, Rx: sluice.Unlimited}
	if err := s.SetCapacity(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open()
	defer s.Close()
	if got, ok, err := s.Capacity(t.Context()); got != want || !ok || err != nil {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if err := s.SetCapacity(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Capacity(t.Context()); ok || err != nil {
		t.Errorf("not forgotten: %v", err)
	}
}
