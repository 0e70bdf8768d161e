package broadcast

import (
	"context"
	"sync"
	"testing"
)

// Who reads too slowly has the newest, in order; who has ended has nothing more.
func TestHub(t *testing.T) {
	var h Hub[int]
	h.Send(0) // nobody listens
	ctx, stop := context.WithCancel(t.Context())
	slow, short := h.Watch(t.Context(), 3), h.Watch(ctx, 0)
	for i := 1; i <= 5; i++ {
		h.Send(i)
	}
	for want := 3; want <= 5; want++ {
		if got := <-slow; got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	if got := <-short; got != 5 {
		t.Errorf("%d, want the newest", got)
	}
	stop()
	for range short {
	}
	h.Send(6)
	h.End()
	h.End()
	if got, ok := <-slow; !ok || got != 6 {
		t.Errorf("what was sent before the end: %d, %v", got, ok)
	}
	if _, ok := <-slow; ok {
		t.Error("it goes on after its end")
	}
	if _, ok := <-h.Watch(t.Context(), 1); ok {
		t.Error("a watcher that came after the end gets something")
	}
	h.Send(7)
}

// Watchers come and go while values are sent.
func TestHubRace(t *testing.T) {
	var h Hub[int]
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				ctx, stop := context.WithCancel(t.Context())
				ch := h.Watch(ctx, 1)
				h.Send(1)
				<-ch
				stop()
				for range ch {
				}
			}
		})
	}
	group.Wait()
}
