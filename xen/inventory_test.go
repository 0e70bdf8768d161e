package xen

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"sluice/xen/xenstore"
	"sluice/xen/xenstore/xenstoretest"
)

// TestReadFails has everything read again in vain, then a domain's back-end change.
func TestReadFails(t *testing.T) {
	ctx := t.Context()
	store, err := xenstore.Dial(ctx, xenstoretest.Start(t).Socket)
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	i := &Inventory{store: store, log: slog.New(slog.DiscardHandler), domains: make(map[int][]Interface)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	backs, others, ended := make(chan string), make(chan string), make(chan struct{})
	go func() {
		defer close(ended)
		i.follow(ctx, backs, others)
	}()
	others <- "@releaseDomain"
	time.Sleep(3 * debounce)
	backs <- fmt.Sprintf("%s/3/0/state", backends)
	stop()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("follow does not end")
	}
}
