package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice"
)

var day = Limits{MaxAge: 24 * time.Hour, MaxSize: 8 << 20}

// safeBuffer is a log that a test reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func open(t testing.TB, path string, l Limits) (*Keeper, *safeBuffer) {
	t.Helper()
	log := new(safeBuffer)
	k, err := Open(path, l, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, log
}

// of makes a sample with n interfaces, of whose bytes the first sent mark.
func of(at time.Time, mark uint64, n int) sluice.Sample {
	s := sluice.Sample{At: at, Span: time.Second, NICs: []sluice.NICUsage{}}
	for i := range n {
		s.NICs = append(s.NICs, sluice.NICUsage{
			Name: fmt.Sprintf("eth%02d", i), MAC: fmt.Sprintf("52:54:00:00:00:%02x", i),
			Tx: sluice.Counters{Bytes: mark + uint64(i), Packets: 2, Dropped: 3}, Rx: sluice.Counters{Bytes: 4, Packets: 5, Dropped: 6},
		})
	}
	return s
}

// all pulls everything, limit at a time, and checks that it is in order.
func all(t testing.TB, k *Keeper, limit int) []sluice.Sample {
	t.Helper()
	var samples []sluice.Sample
	after := uint64(0)
	for {
		got, err := k.Pull(context.Background(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Samples) > limit || got.More && len(got.Samples) == 0 {
			t.Fatalf("%d samples and more %v, where %d were asked for", len(got.Samples), got.More, limit)
		}
		if err := check(got, after, limit); err != nil {
			t.Fatalf("it says what its client refuses: %v", err)
		}
		for _, s := range got.Samples {
			after = s.ID
		}
		samples = append(samples, got.Samples...)
		if !got.More {
			return samples
		}
	}
}

func TestKeeperPull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made/for/it/usage.db")
	k, _ := open(t, path, day)
	if got, err := k.Pull(context.Background(), 0, 10); err != nil || len(got.Samples) != 0 || got.More {
		t.Fatalf("empty: %+v, %v", got, err)
	}
	if _, err := k.Latest(context.Background()); sluice.CodeOf(err) != sluice.NotFound {
		t.Errorf("the latest of none: %v", err)
	}
	now := time.Now().Truncate(time.Millisecond)
	for i := range 10 {
		k.Keep(of(now.Add(time.Duration(i)*time.Second), uint64(i), i%3))
	}
	for _, limit := range []int{1, 3, 10, 11, MaxLimit} {
		got := all(t, k, limit)
		if len(got) != 10 {
			t.Fatalf("%d samples by %d, want 10", len(got), limit)
		}
		for i, s := range got {
			want := of(now.Add(time.Duration(i)*time.Second), uint64(i), i%3)
			want.ID = s.ID
			want.At = want.At.UTC()
			if fmt.Sprint(s) != fmt.Sprint(want) {
				t.Errorf("sample %d is %+v, want %+v", i, s, want)
			}
			if i > 0 && s.ID != got[i-1].ID+1 {
				t.Errorf("sample %d came after %d", s.ID, got[i-1].ID)
			}
		}
	}
	latest, err := k.Latest(context.Background())
	if err != nil || !latest.At.Equal(now.Add(9*time.Second)) {
		t.Errorf("latest: %+v, %v", latest, err)
	}

	// A second start goes on, above every number the first may have given.
	before, _ := k.Pull(context.Background(), latest.ID, 1)
	k.Close()
	k, _ = open(t, path, day)
	k.Keep(of(now, 77, 1))
	got, err := k.Pull(context.Background(), latest.ID+maxWaiting, 10)
	if err != nil || got.Database != before.Database || len(got.Samples) != 1 || got.Samples[0].NICs[0].Tx.Bytes != 77 {
		t.Errorf("after a second start: %+v, %v", got, err)
	}

	// Whoever has numbers from the future is made to begin anew.
	back, err := k.Pull(context.Background(), got.Samples[0].ID+1, 10)
	if err != nil || back.Database == got.Database || len(back.Samples) != 0 {
		t.Errorf("from the future: %+v, %v", back, err)
	}
}

// An answer never outgrows what the client reads.
func TestKeeperAnswerSize(t *testing.T) {
	k, _ := open(t, filepath.Join(t.TempDir(), "usage.db"), day)
	for i := range 100 {
		k.Keep(of(time.Now(), 1<<40+uint64(i), maxNICs))
	}
	if got := all(t, k, MaxLimit); len(got) != 100 {
		t.Errorf("%d samples, want 100", len(got))
	}
	got, _ := k.Pull(context.Background(), 0, MaxLimit)
	if text := marshal(t, got); len(text) > maxAnswer*3/4 || len(text) < maxAnswer/4 {
		t.Errorf("an answer has %d bytes", len(text))
	}
}

func TestKeeperBounds(t *testing.T) {
	dir := t.TempDir()
	k, log := open(t, filepath.Join(dir, "size.db"), Limits{MaxAge: time.Hour, MaxSize: MinSize})
	now := time.Now()
	for i := range 6000 {
		k.Keep(of(now, uint64(i), 4+i%8))
		if i%100 == 0 {
			if n := size(filepath.Join(dir, "size.db")) + size(filepath.Join(dir, "size.db-wal")); n > MinSize {
				t.Fatalf("%d bytes after %d samples, of %d", n, i, MinSize)
			}
		}
	}
	got := all(t, k, MaxLimit)
	if len(got) < 500 || len(got) > 5000 || got[len(got)-1].NICs[0].Tx.Bytes != 5999 {
		t.Errorf("%d samples left", len(got))
	}
	if log.String() != "" {
		t.Error(log)
	}

	// By age: the clock may step, and what is of yesterday goes either way.
	k, _ = open(t, filepath.Join(dir, "age.db"), Limits{MaxAge: time.Hour, MaxSize: 8 << 20})
	for i := range 200 {
		at := now.Add(-2 * time.Hour)
		if i >= 100 {
			at = now.Add(2 * time.Hour)
		}
		k.Keep(of(at, uint64(i), 1))
	}
	for i := range 200 {
		k.Keep(of(now, uint64(1000+i), 1))
	}
	got = all(t, k, MaxLimit)
	if got[0].NICs[0].Tx.Bytes != 1000 || len(got) != 200 {
		t.Errorf("%d samples left, the first marked %d", len(got), got[0].NICs[0].Tx.Bytes)
	}
}

// corruption is what a disk or a person does to a database.
func TestKeeperCorrupt(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"first page gone": func(path string) error { return overwrite(path, 0, 2000) },
		"a page gone":     func(path string) error { return overwrite(path, 9*pageSize, 3*pageSize) },
		"cut off":         func(path string) error { return os.Truncate(path, 5*pageSize+17) },
		"garbage":         func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("no"), 9999), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "usage.db")
			k, _ := open(t, path, day)
			for i := range 500 {
				k.Keep(of(time.Now(), uint64(i), 3))
			}
			old, _ := k.Pull(context.Background(), 0, 1)
			k.Close()
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			k, log := open(t, path, day)
			k.Keep(of(time.Now(), 1, 1))
			got, err := k.Pull(context.Background(), 0, 10)
			if err != nil || got.Database == old.Database || len(got.Samples) != 1 {
				t.Errorf("%+v, %v", got, err)
			}
			if size(path+".corrupt") == 0 || !strings.Contains(log.String(), "moved aside") {
				t.Errorf("it is not there any more; log: %s", log)
			}
		})
	}
}

// A page that goes bad while it runs is found by whoever reads it, and the
// next sample is kept in a new database.
func TestKeeperCorruptWhileRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	k, _ := open(t, path, day)
	for i := range 2000 {
		k.Keep(of(time.Now(), uint64(i), 6))
	}
	old, _ := k.Pull(context.Background(), 0, 1)
	if err := overwrite(path, pageSize, int(size(path))-pageSize); err != nil {
		t.Fatal(err)
	}
	os.Truncate(path+"-wal", 0)
	deadline := time.Now().Add(20 * time.Second)
	for {
		k.Keep(of(time.Now(), 1, 1))
		got, err := k.Pull(context.Background(), 0, MaxLimit)
		if err == nil && got.Database != old.Database && len(got.Samples) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %+v", err, got.Database)
		}
	}
}

func overwrite(path string, at, n int) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(bytes.Repeat([]byte{0xa5}, n), int64(at))
	return err
}

// What is not ours is left alone.
func TestKeeperRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passwords := file("passwd", strings.Repeat("root:x:0:0:root:/root:/bin/bash\n", 100))
	other := filepath.Join(dir, "other.db")
	sqlite3(t, other, "CREATE TABLE accounts (name)")
	newer := filepath.Join(dir, "newer.db")
	k, _ := open(t, newer, day)
	k.Close()
	sqlite3(t, newer, "PRAGMA user_version = 99")
	busy := filepath.Join(dir, "busy.db")
	open(t, busy, day)
	for path, code := range map[string]sluice.Code{
		passwords:                   sluice.NotApplied,
		other:                       sluice.NotApplied,
		newer:                       sluice.NotApplied,
		dir:                         sluice.NotApplied,
		busy:                        sluice.Conflict,
		passwords + "/below/a/file": sluice.NotApplied,
	} {
		for range 2 { // what the first try leaves must not lead the second astray
			before, _ := os.ReadFile(path)
			k, err := Open(path, day, slog.New(slog.DiscardHandler))
			if err == nil {
				k.Close()
			}
			if sluice.CodeOf(err) != code {
				t.Errorf("%s: %v", path, err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Errorf("%s was changed", path)
			}
		}
	}
}

// sqlite3 is what an operator types.
func sqlite3(t testing.TB, path, text string) string {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("needs Debian's package sqlite3")
	}
	out, err := exec.Command("sqlite3", path, text).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s: %v: %s", text, err, out)
	}
	return string(out)
}

// An operator looks while it runs, and holds what he should not hold.
func TestKeeperOperator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	k, log := open(t, path, Limits{MaxAge: time.Hour, MaxSize: MinSize})
	k.Keep(of(time.UnixMilli(1_700_000_000_000), 1_000_000, 1))
	if got := sqlite3(t, "file:"+path+"?mode=ro", "SELECT * FROM usage"); got != "2023-11-14 22:13:20|eth00|52:54:00:00:00:00|8.0|0.0\n" {
		t.Errorf("the view says %q", got)
	}
	// He holds the write lock: samples wait, and are not lost.
	db, err := openSQLite(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	hold := func(text string) {
		t.Helper()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	hold("BEGIN IMMEDIATE")
	for i := range 5 {
		k.Keep(of(time.Now(), uint64(i), 1))
	}
	if got := all(t, k, 2); len(got) != 6 {
		t.Errorf("%d samples while locked, want 6", len(got))
	}
	hold("ROLLBACK")
	k.Keep(of(time.Now(), 6, 1))
	if got := sqlite3(t, path, "SELECT count(*) FROM sample"); got != "7\n" || !strings.Contains(log.String(), "again") {
		t.Errorf("%s samples after, want 7; log: %s", got, log)
	}
	// He reads without end: the log stays within its share.
	rows, err := db.Query("SELECT sample.id FROM sample, nic, nic AS n, nic AS m")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	for i := range 2000 {
		k.Keep(of(time.Now(), uint64(i), 6))
		if n := size(path) + size(path+"-wal"); n > MinSize+MinSize/8 {
			t.Fatalf("%d bytes", n)
		}
	}
	if !strings.Contains(log.String(), "without end") {
		t.Errorf("log: %s", log)
	}
	rows.Close()
	k.db.held = time.Time{}
	k.Keep(of(time.Now(), 4711, 1))
	got := all(t, k, MaxLimit)
	if k.waiting != 0 || got[len(got)-1].NICs[0].Tx.Bytes != 4711 {
		t.Errorf("%d samples wait still", k.waiting)
	}
}

// tmpfs is a small disk.
func tmpfs(t *testing.T, bytes int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts a small disk: needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill takes all room there is and returns what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "fill")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() { os.Remove(path) }
}

func TestKeeperFullDisk(t *testing.T) {
	dir := tmpfs(t, 1<<20)
	k, log := open(t, filepath.Join(dir, "usage.db"), day)
	k.Keep(of(time.Now(), 0, 1))
	free := fill(t, dir)
	for i := range maxWaiting + 400 {
		k.Keep(of(time.Now(), uint64(1+i), 1))
	}
	got := all(t, k, 100)
	if last := got[len(got)-1]; last.NICs[0].Tx.Bytes != maxWaiting+400 || len(got) < maxWaiting {
		t.Errorf("%d samples, the last marked %d", len(got), last.NICs[0].Tx.Bytes)
	}
	if n := strings.Count(log.String(), "takes no samples"); n != 1 {
		t.Errorf("it said so %d times: %s", n, log)
	}
	free()
	k.Keep(of(time.Now(), 4711, 1))
	if k.waiting != 0 || !strings.Contains(log.String(), "takes samples again") {
		t.Errorf("%d wait still; log: %s", k.waiting, log)
	}
	if after := all(t, k, 100); len(after) != len(got)+1 {
		t.Errorf("%d samples on disk, want %d", len(after), len(got)+1)
	}
}

// It starts on a full disk, and what it says then stays true afterwards.
func TestKeeperStartsOnFullDisk(t *testing.T) {
	dir := tmpfs(t, 1<<20)
	free := fill(t, dir)
	k, log := open(t, filepath.Join(dir, "usage.db"), day)
	for i := range 3 {
		k.Keep(of(time.Now(), uint64(i), 1))
	}
	memory, err := k.Pull(context.Background(), 0, 10)
	if err != nil || len(memory.Samples) != 3 || !strings.Contains(log.String(), "takes no samples") {
		t.Fatalf("%+v, %v, log: %s", memory, err, log)
	}
	free()
	k.tried = time.Time{}
	k.Keep(of(time.Now(), 3, 1))
	disk, err := k.Pull(context.Background(), 0, 10)
	if err != nil || len(disk.Samples) != 4 || disk.Database == memory.Database {
		t.Errorf("%+v, %v, log: %s", disk, err, log)
	}
}

func BenchmarkKeep(b *testing.B) {
	k, _ := open(b, filepath.Join(b.TempDir(), "usage.db"), day)
	s := of(time.Now(), 1, 2)
	b.ReportAllocs()
	for b.Loop() {
		k.Keep(s)
	}
}

func BenchmarkPullOne(b *testing.B) {
	k, _ := open(b, filepath.Join(b.TempDir(), "usage.db"), day)
	for range 1000 {
		k.Keep(of(time.Now(), 1, 2))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Latest(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	r := NewReader()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.read(); err != nil {
			b.Fatal(err)
		}
	}
}
