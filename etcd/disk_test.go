package etcd

import (
	"errors"

	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
	"sluice/control"
)

// disk is a small one of its own.
func disk(t *testing.T, size string) string {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("sluice-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill writes until the disk is full, but for the given bytes.
func fill(t *testing.T, path string, but uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free > but { // at once
		_ = unix.Fallocate(int(f.Fd()), 0, 0, int64(free-but))
	}
	for block := make([]byte, 1<<20); but == 0 && len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			block = block[:len(block)/2]
		}
	}
}

// refused is why the disk refuses a change of vm.
func refused(t *testing.T, s *Store, vm string) error {
	t.Helper()
	seen := get(t, s, vm+"/0")
	c := change(vm, seen.Value, limited(7*sluice.Mbit))
	err := s.Begin(t.Context(), &c, seen)
	if sluice.CodeOf(err) != sluice.Unavailable || c.ID != 0 {
		t.Errorf("on a full disk: change %d, %v", c.ID, err)
	}
	return err
}

// soon waits until a change is accepted, and makes it.
func soon(t *testing.T, s *Store, vm string, to sluice.Allocations) {
	t.Helper()
	began := time.Now()
	for {
		seen := get(t, s, vm+"/0")
		c := change(vm, seen.Value, to)
		err := s.Begin(t.Context(), &c, seen)
		if err == nil {
			finish(t, s, c, sluice.Done)
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("still refused 10 s later: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A disk without room for a new store is waited for.
func TestFullBeforeTheFirstStart(t *testing.T) {
	dir := disk(t, "64k")
	s := open(t, dir)
	if _, err := s.Get(t.Context(), "web/0"); sluice.CodeOf(err) != sluice.Unavailable || !strings.Contains(err.Error(), "kB needed") {
		t.Error(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=80m"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("there is room, and it does not open")
	}
	soon(t, s, "web", limited(sluice.Mbit))
}

// On a full disk a store that was there starts and tells what is set. Nothing
// begins, in words, and when there is room all goes on without a restart.
func TestFullBeforeStart(t *testing.T) {
	dir := disk(t, "60m")
	s := open(t, filepath.Join(dir, "store"))
	for n := range 20 {
		finish(t, s, begin(t, s, "web", limited(sluice.Rate(n+1)*sluice.Mbit)), sluice.Done)
	}
	time.Sleep(2 * lookEvery) // the reserve is made
	s.Close()
	hog := filepath.Join(dir, "hog")
	fill(t, hog, 0)
	s = open(t, filepath.Join(dir, "store"))
	if n := get(t, s, "web/0"); n.Value != limited(20*sluice.Mbit) {
		t.Errorf("%+v", n)
	}
	err := refused(t, s, "web")
	for _, says := range []string{"the disk " + dir + " (sluice-test)", "kB free", "kB needed", "free some space"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
	fill(t, filepath.Join(dir, "again"), 0) // and what the reserve gave is taken, too
	refused(t, s, "web")
	if all, err := s.Changes(t.Context(), 100); err != nil || len(all) != 20 {
		t.Errorf("%d changes, %v", len(all), err)
	}
	for _, name := range []string{hog, filepath.Join(dir, "again")} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, s, "web", limited(30*sluice.Mbit))
}

// Whoever fills the disk in one instant while changes go on: none that was
// acknowledged is lost, those under way can be finished, the store tells what
// is set all the while, and goes on when there is room.
func TestFullWhileChanging(t *testing.T) {
	dir := disk(t, "140m")
	s := open(t, filepath.Join(dir, "store"))
	watched, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range watched {
		}
	}()
	long := strings.Repeat("n", 1500) // so that the log fills
	hog := filepath.Join(dir, "hog")
	acknowledged, refusals, rounds := sluice.UnshapedBoth, 0, 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		filled := make(chan struct{})
		time.AfterFunc(rand.N(3*time.Second), func() {
			defer close(filled)
			fill(t, hog, uint64(round%3)*3<<20)
		})
		for n := 0; ; n++ {
			seen, err := s.Get(t.Context(), long+"/0")
			if err != nil || seen.Value != acknowledged || seen.State != sluice.Connected {
				t.Fatalf("round %d: %+v, %v; %+v was acknowledged", round, seen, err, acknowledged)
			}
			c := change(long, seen.Value, limited(sluice.Rate(1+n+1000*round)*sluice.Kbit*8))
			if err := s.Begin(t.Context(), &c, seen); err != nil {
				if c.ID != 0 || sluice.CodeOf(err) != sluice.Unavailable {
					t.Fatalf("round %d: %v", round, err)
				}
				refusals++
				select {
				case <-filled:
				case <-time.After(5 * time.Second):
				}
				break
			}
			finish(t, s, c, sluice.Done)
			acknowledged = c.To
		}
		time.Sleep(rand.N(time.Second))
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		acknowledged = limited(sluice.Rate(round+1) * sluice.Mbit)
		soon(t, s, long, acknowledged)
	}
	if refusals == 0 {
		t.Error("the disk was never full")
	}
	s.Close()
	if n := get(t, open(t, filepath.Join(dir, "store")), long+"/0"); n.Value != acknowledged {
		t.Errorf("%+v was acknowledged, and after a restart it is %+v", acknowledged, n.Value)
	}
}

// A member whose writes fail is replaced, what was acknowledged is told
// meanwhile, and the next one has it.
func TestMemberFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	watched, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan control.Update, 100)
	go func() {
		defer close(seen)
		for u := range watched {
			seen <- u
		}
	}()
	for n := range 3 {
		want := limited(sluice.Rate(n+1) * sluice.Mbit)
		finish(t, s, begin(t, s, "web", want), sluice.Done)
		breakLog(t, dir)
		c := change("web", want, limited(sluice.Gbit))
		if err := s.Begin(t.Context(), &c, get(t, s, "web/0")); sluice.CodeOf(err) != sluice.Unavailable {
			t.Fatalf("its log cannot be written, and yet: %v", err)
		}
		for range 20 {
			if got := get(t, s, "web/0"); got.Value != want && got.Change != c.ID {
				t.Fatalf("%+v was acknowledged, and it is %+v", want, got.Value)
			}
			time.Sleep(10 * time.Millisecond)
		}
		// Whether the change that was not acknowledged began, the journal knows.
		began := time.Now()
		for s.now.Load() == nil || s.now.Load().alive.Err() != nil {
			if time.Since(began) > 30*time.Second {
				t.Fatal("there is no new member")
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("a new member after %s", time.Since(began))
		if n := get(t, s, "web/0"); n.State == sluice.Reconfiguring {
			c, err := s.Change(t.Context(), n.Change)
			if err != nil {
				t.Fatal(err)
			}
			finish(t, s, c, sluice.Undone)
		}
		if n := get(t, s, "web/0"); n.Value != want {
			t.Errorf("%+v was acknowledged, and the new member has %+v", want, n.Value)
		}
	}
	last := limited(50 * sluice.Mbit)
	soon(t, s, "web", last)
	for u := range seen { // the watch goes on over all of them
		if u.Node.Value == last && u.Node.State == sluice.Connected {
			break
		}
	}
}

// breakLog has every further write to the store's log fail.
func breakLog(t *testing.T, dir string) {
	t.Helper()
	null, err := os.Open(os.DevNull) // for reading only
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, e := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if fd, err := strconv.Atoi(e.Name()); err == nil && strings.HasPrefix(to, filepath.Join(dir, "member", "wal")+"/") && strings.HasSuffix(to, ".wal") {
			if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			broken++
		}
	}
	if broken == 0 {
		t.Fatal("no log file is open")
	}
}
