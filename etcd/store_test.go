package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice"
	"sluice/control"
)

// quietLog says nothing, or with LOUD=1 in the environment all.
func quietLog() *slog.Logger {
	if os.Getenv("LOUD") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// open opens a store for one test, in dir.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// limited has one limit in both directions.
func limited(r sluice.Rate) sluice.Allocations {
	a := sluice.Allocation{Limit: r, Weight: sluice.DefaultWeight}
	return sluice.Allocations{Tx: a, Rx: a}
}

// change is one of vif 0 of the VM, as control makes it.
func change(vm string, from, to sluice.Allocations) sluice.Change {
	now := time.Now().UTC()
	return sluice.Change{VM: vm, Key: vm + "/0", By: "root", At: now, From: from, To: to, Result: sluice.Pending,
		States: []sluice.StateAt{{State: sluice.Connected, At: now}, {State: sluice.Reconfiguring, At: now}}}
}

// get returns a node that must be readable.
func get(t testing.TB, s *Store, key string) control.Node {
	t.Helper()
	n, err := s.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// begin begins a change of vm's vif 0 from what is there.
func begin(t testing.TB, s *Store, vm string, to sluice.Allocations) sluice.Change {
	t.Helper()
	seen := get(t, s, vm+"/0")
	c := change(vm, seen.Value, to)
	if err := s.Begin(context.Background(), &c, seen); err != nil {
		t.Fatal(err)
	}
	return c
}

// finish finishes it.
func finish(t testing.TB, s *Store, c sluice.Change, r sluice.Result) {
	t.Helper()
	c.Result, c.Verified = r, r == sluice.Done
	if err := s.Finish(context.Background(), c, get(t, s, c.Key)); err != nil {
		t.Fatal(err)
	}
}

// A change goes Connected, Reconfiguring, Connected; node and journal always agree.
func TestChange(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	if n := get(t, s, "web/0"); n != (control.Node{Value: sluice.UnshapedBoth, State: sluice.Connected}) {
		t.Fatalf("never set: %+v", n)
	}

	c := begin(t, s, "web", limited(10*sluice.Mbit))
	n := get(t, s, "web/0")
	if n.Value != c.To || n.State != sluice.Reconfiguring || n.Change != c.ID || n.Revision == 0 || c.ID != 1 {
		t.Fatalf("begun: %+v of change %d", n, c.ID)
	}
	if j, err := s.Change(ctx, c.ID); err != nil || j.Result != sluice.Pending || j.To != c.To {
		t.Fatalf("journalled as %+v, %v", j, err)
	}

	finish(t, s, c, sluice.Done)
	done := get(t, s, "web/0")
	if done.Value != c.To || done.State != sluice.Connected || done.Change != c.ID || done.Revision <= n.Revision {
		t.Fatalf("finished: %+v", done)
	}
	if j, err := s.Change(ctx, c.ID); err != nil || j.Result != sluice.Done || !j.Verified || !j.At.Equal(c.At) {
		t.Fatalf("journalled as %+v, %v", j, err)
	}

	// Another is undone: the old value is there again.
	u := begin(t, s, "web", limited(20*sluice.Mbit))
	finish(t, s, u, sluice.Undone)
	if n := get(t, s, "web/0"); n.Value != c.To || n.State != sluice.Connected || n.Change != u.ID {
		t.Fatalf("undone: %+v", n)
	}
	if n := get(t, s, "web/1"); n.Revision != 0 {
		t.Fatalf("a neighbour was written: %+v", n)
	}
	if _, err := s.Change(ctx, 99); sluice.CodeOf(err) != sluice.NotFound {
		t.Fatalf("change 99: %v", err)
	}
}

// Of many who change the same vif at once one begins, and the others wrote nothing.
func TestBeginIsExclusive(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	for round := range 10 {
		seen := get(t, s, "web/0")
		var wins, conflicts int
		var winner sluice.Change
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				c := change("web", seen.Value, limited(sluice.Rate(round*8+i+1)*sluice.Mbit))
				err := s.Begin(ctx, &c, seen)
				mu.Lock()
				defer mu.Unlock()
				switch sluice.CodeOf(err) {
				case "":
					wins, winner = wins+1, c
				case sluice.Conflict:
					conflicts++
					if c.ID != 0 {
						t.Errorf("refused with the ID %d", c.ID)
					}
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if wins != 1 || conflicts != 7 {
			t.Fatalf("%d began and %d were refused", wins, conflicts)
		}
		if n := get(t, s, "web/0"); n.Value != winner.To || n.Change != winner.ID {
			t.Fatalf("the store says %+v, the winner is %+v", n, winner)
		}
		finish(t, s, winner, sluice.Done)
		if all, err := s.Changes(ctx, 100); err != nil || len(all) != round+1 || all[0].ID != winner.ID {
			t.Fatalf("the journal has %d records, %v", len(all), err)
		}
	}
}

// IDs are unique and grow, whichever vifs are changed at once.
func TestIDs(t *testing.T) {
	s := open(t, t.TempDir())
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			last := uint64(0)
			for range 20 {
				c := begin(t, s, fmt.Sprint("vm", i), limited(sluice.Mbit))
				finish(t, s, c, sluice.Done)
				mu.Lock()
				if seen[c.ID] || c.ID <= last {
					t.Errorf("ID %d after %d", c.ID, last)
				}
				seen[c.ID], last = true, c.ID
				mu.Unlock()
			}
		})
	}
	all.Wait()
	// Somebody else's IDs are jumped over.
	if _, err := s.now.Load().client.Put(context.Background(), changeKey(200), encode(sluice.Change{ID: 200, Result: sluice.Done})); err != nil {
		t.Fatal(err)
	}
	s.lastID.Store(199)
	if c := begin(t, s, "web", limited(sluice.Mbit)); c.ID != 201 {
		t.Fatalf("the ID after another writer's 200 is %d", c.ID)
	}
}

// Nobody finishes what he did not see under way.
func TestFinishIsExclusive(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	c := begin(t, s, "web", limited(sluice.Mbit))
	seen := get(t, s, "web/0")
	c.Result = sluice.Done
	stale, stranger, connected := seen, seen, seen
	stale.Revision--
	stranger.Change++
	connected.State = sluice.Connected
	for name, n := range map[string]control.Node{"stale": stale, "stranger": stranger, "connected": connected} {
		if err := s.Finish(ctx, c, n); sluice.CodeOf(err) != sluice.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := get(t, s, "web/0"); n != seen {
		t.Fatalf("it became %+v", n)
	}
	again := c
	if err := s.Begin(ctx, &again, seen); sluice.CodeOf(err) != sluice.Conflict {
		t.Fatalf("begun twice: %v", err)
	}
	if err := s.Finish(ctx, c, seen); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(ctx, c, seen); sluice.CodeOf(err) != sluice.Conflict {
		t.Fatalf("finished twice: %v", err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	done := begin(t, s, "web", limited(10*sluice.Mbit))
	finish(t, s, done, sluice.Done)
	pending := begin(t, s, "ftp", limited(20*sluice.Mbit))
	before := get(t, s, "web/0")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), "web/0"); sluice.CodeOf(err) != sluice.Unavailable && err != errClosed {
		t.Fatalf("a closed store answers %v", err)
	}

	s = open(t, dir)
	if n := get(t, s, "web/0"); n != before {
		t.Fatalf("was %+v, is %+v", before, n)
	}
	if n := get(t, s, "ftp/0"); n.State != sluice.Reconfiguring || n.Change != pending.ID {
		t.Fatalf("what was under way is %+v", n)
	}
	finish(t, s, pending, sluice.Done)
	if c := begin(t, s, "web", limited(sluice.Mbit)); c.ID != pending.ID+1 {
		t.Fatalf("the next ID is %d", c.ID)
	}
	all, err := s.Changes(context.Background(), 2)
	if err != nil || len(all) != 2 || all[0].ID != 3 || all[1].ID != 2 {
		t.Fatalf("the journal: %+v, %v", all, err)
	}
}

// next reads one update.
func next(t *testing.T, updates <-chan control.Update) control.Update {
	t.Helper()
	select {
	case u, ok := <-updates:
		if !ok {
			t.Fatal("the watch ended")
		}
		return u
	case <-time.After(30 * time.Second):
		t.Fatal("no update")
	}
	panic("unreachable")
}

func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := open(t, t.TempDir())
	finish(t, s, begin(t, s, "ftp", limited(10*sluice.Mbit)), sluice.Done)
	pending := begin(t, s, "web", limited(20*sluice.Mbit))

	updates, err := s.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// First what is there: only what is under way comes with its change.
	if u := next(t, updates); u.Key != "ftp/0" || u.Node != get(t, s, "ftp/0") || u.Change.ID != 0 {
		t.Fatalf("%+v", u)
	}
	if u := next(t, updates); u.Key != "web/0" || u.Node != get(t, s, "web/0") || u.Change.ID != pending.ID {
		t.Fatalf("%+v", u)
	}
	// Then every step, in order, with its change.
	finish(t, s, pending, sluice.Done)
	other := begin(t, s, "ftp", limited(30*sluice.Mbit))
	finish(t, s, other, sluice.Undone)
	for i, want := range []struct {
		id     uint64
		state  sluice.State
		result sluice.Result
		value  sluice.Allocations
	}{
		{pending.ID, sluice.Connected, sluice.Done, limited(20 * sluice.Mbit)},
		{other.ID, sluice.Reconfiguring, sluice.Pending, limited(30 * sluice.Mbit)},
		{other.ID, sluice.Connected, sluice.Undone, limited(10 * sluice.Mbit)},
	} {
		u := next(t, updates)
		if u.Change.ID != want.id || u.Node.State != want.state || u.Change.Result != want.result || u.Node.Value != want.value {
			t.Fatalf("update %d is %+v", i, u)
		}
	}
	cancel()
	for range updates {
	}

	// It ends with the store, too.
	updates, err = s.Watch(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for range updates {
	}
}

// A watcher so far behind that its past has been forgotten looks anew.
func TestWatchAfterCompaction(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := open(t, t.TempDir())
	finish(t, s, begin(t, s, "web", limited(10*sluice.Mbit)), sluice.Done)
	r, err := s.now.Load().client.Get(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.now.Load().client.Compact(ctx, r.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if err := s.follow(ctx, 1, nil); err == nil || ctx.Err() != nil {
		t.Fatalf("following a forgotten past: %v", err)
	}
	now, revision, err := s.snapshot(ctx)
	if err != nil || len(now) != 1 || revision != r.Header.Revision {
		t.Fatalf("%+v at %d, %v", now, revision, err)
	}
}

// The journal is bounded; what is under way is never thrown away.
func TestTidy(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	var old []uint64
	for range 5 {
		c := begin(t, s, "ftp", limited(sluice.Mbit))
		finish(t, s, c, sluice.Done)
		old = append(old, c.ID)
	}
	hangs := begin(t, s, "web", limited(sluice.Mbit))
	s.lastID.Store(journalKept + 3) // as if so many had been made
	kept := begin(t, s, "ftp", limited(sluice.Mbit))
	finish(t, s, kept, sluice.Done)
	if err := s.tidyUp(ctx); err != nil {
		t.Fatal(err)
	}
	all, err := s.Changes(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	if want := []uint64{kept.ID, hangs.ID, old[4]}; !slices.Equal(ids, want) {
		t.Fatalf("kept %v; want %v", ids, want)
	}
	if n := get(t, s, "ftp/0"); n.Change != kept.ID {
		t.Fatalf("the node is %+v", n)
	}
}

// BenchmarkChange is a change's part in the store: Begin and Finish, both durable.
func BenchmarkChange(b *testing.B) {
	s := open(b, b.TempDir())
	took := make([]time.Duration, 0, b.N)
	for i := range b.N {
		start := time.Now()
		c := begin(b, s, "web", limited(sluice.Rate(i%1000+1)*sluice.Mbit))
		finish(b, s, c, sluice.Done)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
