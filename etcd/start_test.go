package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"sluice"
)

// child makes this test binary a process that keeps changing the store in
// that directory and prints the changes acknowledged.
const child = "SLUICE_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		if err := scribble(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func scribble(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, dir, quietLog())
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for mbit := sluice.Rate(1); ; mbit++ {
		seen, err := s.Get(ctx, "web/0")
		if err != nil {
			return err
		}
		if seen.State == sluice.Reconfiguring { // a kill came in between
			c, err := s.Change(ctx, seen.Change)
			if err != nil {
				return err
			}
			c.Result = sluice.Undone
			if err := s.Finish(ctx, c, seen); err != nil {
				return err
			}
			continue
		}
		c := change("web", seen.Value, limited((1+mbit%1000)*sluice.Mbit))
		if err := s.Begin(ctx, &c, seen); err != nil {
			return err
		}
		fmt.Println("begun", c.ID)
		if seen, err = s.Get(ctx, "web/0"); err != nil {
			return err
		}
		c.Result = sluice.Done
		if err := s.Finish(ctx, c, seen); err != nil {
			return err
		}
		fmt.Println("done", c.ID)
	}
}

// What was acknowledged survives kill -9 at any time, and node and journal agree.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 5
	}
	dir := t.TempDir()
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), child+"="+dir), os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, begun, done := bufio.NewScanner(out), uint64(0), uint64(0)
		hung := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			if lines.Text() == "ready" {
				time.AfterFunc(rand.N(100*time.Millisecond), func() { _ = cmd.Process.Kill() })
			}
			_, _ = fmt.Sscanf(lines.Text(), "begun %d", &begun)
			_, _ = fmt.Sscanf(lines.Text(), "done %d", &done)
		}
		hung.Stop()
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the child was not killed: %v", err)
		}

		s, err := Open(context.Background(), dir, quietLog())
		if err != nil {
			t.Fatal(err)
		}
		n := get(t, s, "web/0")
		if n.Change < begun || n.Change == done && n.State != sluice.Connected && done > 0 {
			t.Errorf("change %d was begun, %d done; the store is at %+v", begun, done, n)
		}
		if n.Change > 0 {
			c, err := s.Change(context.Background(), n.Change)
			if err != nil || (n.State == sluice.Connected) == (c.Result == sluice.Pending) || c.Result != sluice.Undone && c.To != n.Value {
				t.Errorf("the node is %+v, its change %+v, %v", n, c, err)
			}
		}
		if done > 0 {
			if c, err := s.Change(context.Background(), done); err != nil || c.Result != sluice.Done {
				t.Errorf("change %d was done, and is %+v, %v", done, c, err)
			}
		}
		s.Close()
	}
}

// The directory is private, and belongs to one daemon at a time.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", strings.Repeat("long", 40)) // longer than a socket's path may be
	s := open(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	_, err := Open(context.Background(), dir, quietLog())
	if sluice.CodeOf(err) != sluice.Unavailable || !strings.Contains(err.Error(), "is used by another daemon") {
		t.Errorf("a second daemon: %v", err)
	}
	finish(t, s, begin(t, s, "web", limited(sluice.Mbit)), sluice.Done) // and the first goes on
	s.Close()
	open(t, dir)

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, filepath.Join(file, "below"), "/proc/nowhere"} {
		if _, err := Open(context.Background(), bad, quietLog()); sluice.CodeOf(err) != sluice.Unavailable {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Nothing listens but one Unix socket in the private directory.
func TestNoPort(t *testing.T) {
	s := open(t, t.TempDir())
	var sockets []string
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				sockets = append(sockets, strings.TrimSuffix(inode, "]"))
			}
		}
	}
	if len(sockets) == 0 {
		t.Error("it has no socket at all: this test looks in the wrong place")
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		lines, err := os.ReadFile("/proc/self/net/" + table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(lines)) {
			if fields := strings.Fields(line); len(fields) > 9 {
				for _, inode := range sockets {
					if fields[9] == inode {
						t.Errorf("%s: %s", table, line)
					}
				}
			}
		}
	}
	if c, err := net.Dial("unix", filepath.Join(s.dir, clientSocket)); err != nil {
		t.Errorf("etcdctl cannot reach it: %v", err)
	} else {
		c.Close()
	}
}

// Whoever writes nonsense with etcdctl harms the vif he wrote to, no other.
func TestGarbage(t *testing.T) {
	s := open(t, t.TempDir())
	finish(t, s, begin(t, s, "ftp", limited(sluice.Mbit)), sluice.Done)
	updates, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next(t, updates)

	etcdctl, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(s.dir, clientSocket)},
		DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer etcdctl.Close()
	for _, nonsense := range []string{
		``, `nonsense`, `null`, `[]`, `{}`, `{"tx":{},"rx":{},"state":"Connected"}`,
		`{"tx":{"limit":0,"weight":1},"rx":{"limit":null,"weight":1},"state":"Connected"}`,
		`{"tx":{"limit":null,"weight":0},"rx":{"limit":null,"weight":1},"state":"Connected"}`,
		`{"tx":{"limit":null,"weight":1},"rx":{"limit":null,"weight":1},"state":"Closed"}`,
		`{"tx":{"limit":-1,"weight":1},"rx":{"limit":null,"weight":1},"state":"Connected"}`,
		strings.Repeat(`[`, 1<<20), "\x00\xff",
	} {
		if _, err := etcdctl.Put(t.Context(), vifKey("web/0"), nonsense); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "web/0"); sluice.CodeOf(err) != sluice.Internal || !strings.Contains(err.Error(), "etcdctl get /sluice/vifs/web/0") || len(err.Error()) > 1000 {
			t.Errorf("%.60q is read with %.300v", nonsense, err)
		}
	}
	for _, nonsense := range []string{``, `{}`, `{"id":8}`, `{"id":7,"from":3}`} {
		if _, err := etcdctl.Put(t.Context(), changeKey(7), nonsense); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Change(t.Context(), 7); sluice.CodeOf(err) != sluice.Internal {
			t.Errorf("%q is read with %v", nonsense, err)
		}
	}
	if all, err := s.Changes(t.Context(), 10); err != nil || len(all) != 1 {
		t.Errorf("the rest of the journal: %+v, %v", all, err)
	}
	// The watch skips it all, and so does one that begins now.
	finish(t, s, begin(t, s, "ftp", limited(2*sluice.Mbit)), sluice.Done)
	for range 2 {
		if u := next(t, updates); u.Key != "ftp/0" {
			t.Errorf("the watch sends %+v", u)
		}
	}
	if now, _, err := s.snapshot(t.Context()); err != nil || len(now) != 1 {
		t.Errorf("%+v, %v", now, err)
	}
	// Deleting it mends it.
	if _, err := etcdctl.Delete(t.Context(), vifKey("web/0")); err != nil {
		t.Fatal(err)
	}
	finish(t, s, begin(t, s, "web", limited(sluice.Mbit)), sluice.Done)
}

// Damaged files are named, and never end the process.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for range 50 {
		finish(t, s, begin(t, s, "web", limited(sluice.Mbit)), sluice.Done)
	}
	s.Close()
	file := func(dir, pattern string) string {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		return found[0]
	}
	for name, c := range map[string]struct {
		file   string
		damage func(b []byte) []byte
	}{
		"log overwritten":      {"member/wal/*.wal", func(b []byte) []byte { return []byte(strings.Repeat("nonsense", len(b)/8)) }},
		"log, one bit":         {"member/wal/*.wal", func(b []byte) []byte { b[5000] ^= 4; return b }},
		"log, its beginning":   {"member/wal/*.wal", func(b []byte) []byte { clear(b[:512]); return b }},
		"log cut off":          {"member/wal/*.wal", func(b []byte) []byte { return b[:1001] }},
		"log gone":             {"member/wal/*.wal", func([]byte) []byte { return nil }},
		"database overwritten": {"member/snap/db", func(b []byte) []byte { return []byte(strings.Repeat("nonsense", len(b)/8)) }},
		"database cut off":     {"member/snap/db", func(b []byte) []byte { return b[:3*4096+100] }},
		"database's inside":    {"member/snap/db", func(b []byte) []byte { clear(b[4*4096 : 12*4096]); return b }},
		"database emptied":     {"member/snap/db", func([]byte) []byte { return []byte{1} }},
	} {
		t.Run(name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			// A start that failed may still be making its next log file.
			t.Cleanup(func() {
				for tries := 0; os.RemoveAll(copied) != nil && tries < 100; tries++ {
					time.Sleep(50 * time.Millisecond)
				}
			})
			path := file(copied, c.file)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b = c.damage(b); b == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			s, err := Open(ctx, copied, quietLog())
			if err == nil {
				s.Close()
				t.Fatal("it started as if nothing had happened")
			}
			if sluice.CodeOf(err) != sluice.Unavailable || !strings.Contains(err.Error(), "the store in "+copied) {
				t.Error(err)
			}
			if took := time.Since(began); name == "log gone" && took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
