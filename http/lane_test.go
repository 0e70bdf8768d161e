package http

import (
	"context"
	"sync"
	"testing"
	"time"
)

// An expensive value is made once for all who ask at the same time, and again
// for whoever wants a newer one.
func TestRecent(t *testing.T) {
	var r recent[int]
	made := 0
	slow := func(context.Context) int {
		made++
		time.Sleep(10 * time.Millisecond)
		return made
	}
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			if n, err := r.get(t.Context(), time.Minute, slow); n != 1 || err != nil {
				t.Error(n, err)
			}
		})
	}
	clients.Wait()
	if n, err := r.get(t.Context(), 0, slow); n != 2 || err != nil {
		t.Error("a newer one:", n, err)
	}
	gone, stop := context.WithCancel(t.Context())
	r.turn <- struct{}{}
	stop()
	if _, err := r.get(gone, 0, slow); err == nil {
		t.Error("somebody who has gone still waits")
	}
}

// Asking in a loop leaves half of the time to others.
func TestLane(t *testing.T) {
	var l lane
	began, worked := time.Now(), time.Duration(0)
	for range 5 {
		done, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		from := time.Now()
		time.Sleep(20 * time.Millisecond)
		worked += time.Since(from)
		done()
	}
	if took := time.Since(began); took < worked*3/2 {
		t.Errorf("%s of work were done in %s", worked, took)
	}
}
