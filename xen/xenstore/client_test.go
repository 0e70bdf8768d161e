package xenstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/xen/xenstore"
	"sluice/xen/xenstore/xenstoretest"
)

// dial connects to a server of the test's, or to what SLUICE_XENSTORE names, the real
// one, and returns a part of the tree to play in.
func dial(t testing.TB) (*xenstore.Client, string) {
	t.Helper()
	path := os.Getenv("SLUICE_XENSTORE")
	if path == "" {
		path = xenstoretest.Start(t).Socket
	}
	return dialAt(t, path), "/tool/" + strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-")
}

func dialAt(t testing.TB, path string) *xenstore.Client {
	t.Helper()
	c, err := xenstore.Dial(deadline(t), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadWriteRemove(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	for _, value := range []string{"", "text", "a\x00b\xff", strings.Repeat("x", 2000)} {
		must(t, c.WriteString(ctx, home+"/a/b", value))
		got, err := c.ReadString(ctx, home+"/a/b")
		if must(t, err); got != value {
			t.Errorf("wrote %q, read %q", value, got)
		}
	}
	must(t, c.Mkdir(ctx, home+"/a/dir"))
	must(t, c.Mkdir(ctx, home+"/a/dir"))
	names, err := c.List(ctx, home+"/a")
	must(t, err)
	slices.Sort(names)
	if !slices.Equal(names, []string{"b", "dir"}) {
		t.Errorf("children %q", names)
	}
	if names, err := c.List(ctx, home+"/a/dir"); err != nil || len(names) != 0 {
		t.Errorf("an empty node has children %q, %v", names, err)
	}
	must(t, c.Remove(ctx, home))
	_, err = c.Read(ctx, home+"/a/b")
	if !errors.Is(err, xenstore.ErrNotFound) {
		t.Errorf("reading what was removed: %v", err)
	}
	var told *xenstore.PathError
	if !errors.As(err, &told) || told.Path != home+"/a/b" || told.Op != "read" {
		t.Errorf("the error does not name its path: %v", err)
	}
}

func TestManyChildren(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	var want []string
	must(t, c.Transaction(ctx, func(v xenstore.View) error {
		want = nil
		for i := range 600 {
			name := fmt.Sprintf("child-number-%04d", i)
			want = append(want, name)
			if err := v.Mkdir(ctx, home+"/"+name); err != nil {
				return err
			}
		}
		return nil
	}))
	got, err := c.List(ctx, home)
	if os.Getenv("SLUICE_XENSTORE") == xenstore.Device && errors.Is(err, xenstore.ErrTooBig) {
		must(t, c.Remove(ctx, home))
		return // this xenstored cannot
	}
	must(t, err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d children, want %d", len(got), len(want))
	}
	must(t, c.Remove(ctx, home))
}

func TestPermissions(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	must(t, c.WriteString(ctx, home, ""))
	want := []xenstore.Permission{{Domain: 0, Access: xenstore.None}, {Domain: 7, Access: xenstore.ReadWrite}}
	must(t, c.SetPermissions(ctx, home, want...))
	got, err := c.Permissions(ctx, home)
	if must(t, err); !slices.Equal(got, want) {
		t.Errorf("permissions %v, want %v", got, want)
	}
	if err := c.SetPermissions(ctx, home); !errors.Is(err, xenstore.ErrInvalid) {
		t.Errorf("a node without an owner: %v", err)
	}
	must(t, c.Remove(ctx, home))
}

func TestDomainPath(t *testing.T) {
	c, _ := dial(t)
	if path, err := c.DomainPath(deadline(t), 7); err != nil || path != "/local/domain/7" {
		t.Errorf("%q, %v", path, err)
	}
}

func TestBadRequestsAreNotSent(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	for _, path := range []string{"", "a b", "/a//b", "/a/", "/a\x00b", "/ü", "/a*", "/" + strings.Repeat("a", 3072), strings.Repeat("a", 2049), "@releaseDomain/"} {
		if _, err := c.Read(ctx, path); !errors.Is(err, xenstore.ErrInvalid) {
			t.Errorf("reading %.20q: %v", path, err)
		}
	}
	err := c.Write(ctx, home, make([]byte, xenstore.MaxPayload))
	if !errors.Is(err, xenstore.ErrTooBig) {
		t.Errorf("a value beyond a message: %v", err)
	}
	if os.Getenv("SLUICE_XENSTORE") == "" { // a real one's quota is lower
		must(t, c.Write(ctx, home, make([]byte, xenstore.MaxPayload-len(home)-1)))
	}
}

func TestTransactionIsRetried(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	must(t, c.WriteString(ctx, home+"/n", "0"))
	tries := 0
	must(t, c.Transaction(ctx, func(v xenstore.View) error {
		tries++
		now, err := v.ReadString(ctx, home+"/n")
		if err != nil {
			return err
		}
		if tries == 1 { // somebody else comes between
			must(t, c.WriteString(ctx, home+"/n", "5"))
		}
		return v.WriteString(ctx, home+"/n", now+"1")
	}))
	if got, _ := c.ReadString(ctx, home+"/n"); got != "51" || tries < 2 {
		t.Errorf("%q after %d tries", got, tries)
	}
	stop := errors.New("stop")
	err := c.Transaction(ctx, func(v xenstore.View) error {
		must(t, v.WriteString(ctx, home+"/n", "lost"))
		return stop
	})
	if got, _ := c.ReadString(ctx, home+"/n"); got != "51" || err != stop {
		t.Errorf("after an aborted transaction: %q, %v", got, err)
	}
	must(t, c.Remove(ctx, home))
}

func TestConcurrentCounters(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	must(t, c.WriteString(ctx, home, ""))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				err := c.Transaction(ctx, func(v xenstore.View) error {
					now, err := v.ReadString(ctx, home)
					if err != nil {
						return err
					}
					return v.WriteString(ctx, home, now+"x")
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got, _ := c.ReadString(ctx, home); len(got) != 20 {
		t.Errorf("%d of 20 increments are there", len(got))
	}
	must(t, c.Remove(ctx, home))
}

func TestConcurrentRequests(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			path, want := fmt.Sprintf("%s/%d", home, i), fmt.Sprint("value ", i)
			if err := c.WriteString(ctx, path, want); err != nil {
				t.Error(err)
			}
			if got, err := c.ReadString(ctx, path); got != want || err != nil {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		})
	}
	all.Wait()
	must(t, c.Remove(ctx, home))
}

// until reads events until one is of that path.
func until(t *testing.T, events <-chan string, path string) {
	t.Helper()
	timeout := time.After(15 * time.Second)
	for {
		select {
		case got, ok := <-events:
			if !ok {
				t.Fatalf("the watch ended before %s", path)
			}
			if got == path {
				return
			}
		case <-timeout:
			t.Fatalf("no event for %s", path)
		}
	}
}

func TestWatch(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	watching, stop := context.WithCancel(ctx)
	events, err := c.Watch(watching, home)
	must(t, err)
	until(t, events, home)
	must(t, c.WriteString(ctx, home+"/a/b", "1"))
	until(t, events, home+"/a/b")
	must(t, c.Transaction(ctx, func(v xenstore.View) error { return v.WriteString(ctx, home+"/c", "1") }))
	until(t, events, home+"/c")
	must(t, c.Remove(ctx, home))
	until(t, events, home)
	stop()
	for range events {
	}
	if _, err := c.Watch(ctx, "@releaseDomain"); err != nil {
		t.Error(err)
	}
}

func TestSlowReaderOfAWatch(t *testing.T) {
	c, home := dial(t)
	ctx := deadline(t)
	events, err := c.Watch(ctx, home)
	must(t, err)
	for range 50 {
		must(t, c.WriteString(ctx, home+"/same", "x"))
	}
	must(t, c.WriteString(ctx, home+"/last", "x"))
	until(t, events, home+"/last")
	must(t, c.Remove(ctx, home))
}

// The rest needs a xenstored that can be mistreated.

func TestReconnect(t *testing.T) {
	d := xenstoretest.Start(t)
	c := dialAt(t, d.Socket)
	ctx := deadline(t)
	events, err := c.Watch(ctx, "/a")
	must(t, err)
	until(t, events, "/a")

	d.Mute(true)
	lost := make(chan error, 1)
	go func() { _, err := c.Read(ctx, "/a"); lost <- err }()
	time.Sleep(50 * time.Millisecond)
	d.Stop()
	if err := <-lost; !errors.Is(err, xenstore.ErrLost) {
		t.Errorf("a request under way when the connection broke: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.Read(short, "/a"); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, xenstore.ErrLost) {
		t.Errorf("a request while xenstored is away: %v", err)
	}
	d.Mute(false)
	d.Listen(t)
	for err = xenstore.ErrLost; errors.Is(err, xenstore.ErrLost); { // it may meet one that is just closing
		err = c.WriteString(ctx, "/b", "back")
	}
	must(t, err)
	until(t, events, "/a") // for what was missed
	must(t, c.WriteString(ctx, "/a/x", "1"))
	until(t, events, "/a/x")
}

func TestDeadlineOfASilentXenstored(t *testing.T) {
	d := xenstoretest.Start(t)
	c := dialAt(t, d.Socket)
	d.Mute(true)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Read(ctx, "/a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestClose(t *testing.T) {
	d := xenstoretest.Start(t)
	c := dialAt(t, d.Socket)
	events, err := c.Watch(deadline(t), "/")
	must(t, err)
	must(t, c.Close())
	for range events {
	}
	if _, err := c.Read(deadline(t), "/"); !errors.Is(err, xenstore.ErrClosed) {
		t.Errorf("reading from a closed client: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := xenstore.Dial(deadline(t), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func ExampleClient_Transaction() {
	ctx := context.Background()
	c, err := xenstore.Dial(ctx, "") // the socket in dom0, the device elsewhere
	if err != nil {
		fmt.Println("not on Xen")
		return
	}
	defer c.Close()
	const backend = "/local/domain/0/backend/vif/1/0"
	err = c.Transaction(ctx, func(v xenstore.View) error {
		state, err := v.ReadString(ctx, backend+"/state")
		if err != nil {
			return err
		}
		if state != "4" {
			return errors.New("not connected")
		}
		return v.WriteString(ctx, backend+"/state", "7")
	})
	fmt.Println(err)
}

func ExampleCheckPath() {
	fmt.Println(xenstore.CheckPath("/local/domain/1/data"))
	fmt.Println(xenstore.CheckPath("no spaces"))
	// Output:
	// <nil>
	// "no spaces" is not a node's name: ' ' cannot be in a name: not a valid request (EINVAL)
}

// recorded is what xenstore-read /local/domain/0/name sends, and what xenstored answers.
const (
	recordedRequest = "\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x15\x00\x00\x00/local/domain/0/name\x00"
	recordedAnswer  = "\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00Domain-0"
)

func TestBytesOnTheWire(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		b := make([]byte, len(recordedRequest))
		n, _ := conn.Read(b)
		got <- string(b[:n])
		_, _ = conn.Write([]byte(recordedAnswer))
	}()
	name, err := dialAt(t, socket).ReadString(deadline(t), "/local/domain/0/name")
	if sent := <-got; sent != recordedRequest || name != "Domain-0" || err != nil {
		t.Errorf("sent %q, read %q, %v", sent, name, err)
	}
}
