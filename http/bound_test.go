package http

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice"
)

const nobody = 65534 // a user without rights

// dialAs connects as another user: a socket is of the user its thread was when it was made.
func dialAs(t *testing.T, uid int, to net.Addr) net.Conn {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(uid); err != nil {
		t.Fatal(err)
	}
	defer unix.Setfsuid(os.Geteuid())
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// get asks on a connection that stays open, and returns the status, 0 if there is none.
func get(c net.Conn, path string) int {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	if path != "/v1/events" {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp.StatusCode
}

// The kernel says whose the other end of a connection is, until it is closed:
// then it would say 0, which is root.
func TestOwner(t *testing.T) {
	d := tcpDoor(t)
	defer d.Close()
	c := dialAs(t, nobody, d.Addr())
	got, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	var o owners
	defer o.close()
	one := got.(*conn)
	if uid, err := o.of(one.Conn); uid != nobody || err != nil || one.client.name != "uid 65534" || one.client.root {
		t.Errorf("uid %d, %v; %+v", uid, err, one.client)
	}
	c.Close()
	if uid, err := o.of(one.Conn); !errors.Is(err, errNoOwner) {
		t.Errorf("after it was closed: uid %d, %v", uid, err)
	}
}

// Whoever opens more connections than a client may have loses the idle ones
// that it opened first; others are answered all the while.
func TestIdleConnections(t *testing.T) {
	d := tcpDoor(t)
	u, root := unixDoor(t)
	serve(t, newHost(), d, u)
	var held []net.Conn
	for range mostClientConns + 20 {
		c := dialAs(t, nobody, d.Addr())
		if status := get(c, "/v1/vifs"); status != 200 {
			t.Fatalf("connection %d: %d", len(held), status)
		}
		held = append(held, c)
	}
	open := 0
	for _, c := range held {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open != mostClientConns {
		t.Errorf("it holds %d connections, and may %d", open, mostClientConns)
	}
	if status := get(dialAs(t, 0, d.Addr()), "/v1/vifs"); status != 200 {
		t.Error("root on TCP:", status)
	}
	if _, err := root.VIFs(t.Context()); err != nil {
		t.Error("root on the Unix socket:", err)
	}
}

// A door that is full of several clients' connections lets a newcomer in, in
// place of the one that has most.
func TestFullDoor(t *testing.T) {
	d := tcpDoor(t)
	serve(t, newHost(), d)
	for uid := range mostConns / mostClientConns {
		for range mostClientConns {
			dialAs(t, nobody-1-uid, d.Addr())
		}
	}
	for range 10 {
		if status := get(dialAs(t, nobody, d.Addr()), "/v1/vifs"); status != 200 {
			t.Fatal("a newcomer:", status)
		}
	}
	b := d.Listener.(*bounded)
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.conns); n > mostConns || n < mostConns-20 {
		t.Errorf("the door holds %d connections, and may %d", n, mostConns)
	}
}

// Streams of events are bounded per client and per door, and the Unix
// socket's are its own.
func TestStreams(t *testing.T) {
	d := tcpDoor(t)
	u, root := unixDoor(t)
	s := serve(t, newHost(), d, u)
	granted := 0
	for range mostClientStreams + 5 {
		if get(dialAs(t, nobody, d.Addr()), "/v1/events") == 200 {
			granted++
		}
	}
	if granted != mostClientStreams {
		t.Errorf("one client has %d streams, and may have %d", granted, mostClientStreams)
	}
	for range mostStreams - mostClientStreams { // the door is full
		get(dialAs(t, nobody-1, d.Addr()), "/v1/events")
	}
	if status := get(dialAs(t, nobody-2, d.Addr()), "/v1/events"); status != 200 {
		t.Error("a client with no stream yet:", status)
	}
	s.lane.once.Do(func() { s.lane.turn = make(chan struct{}, 1) })
	s.lane.turn <- struct{}{} // others are served, and root does not wait for them
	for range mostStreams {
		seen := make(chan bool, 1)
		go root.Watch(t.Context(), func(sluice.DataSet) { seen <- true }, nil)
		select {
		case <-seen:
		case <-time.After(10 * time.Second):
			t.Fatal("root does not see its data set")
		}
	}
}

// failing is a listener whose Accept fails at first, as when the process has
// no descriptor left, or the kernel no memory: of the latter net/http would end.
type failing struct {
	net.Listener
	left atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if left := f.left.Add(-1); left >= 0 {
		why := []error{syscall.EMFILE, syscall.ENOBUFS}[left%2]
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", why)}
	}
	return f.Listener.Accept()
}

// Too many open files end nothing.
func TestAcceptFails(t *testing.T) {
	d := tcpDoor(t)
	b := d.Listener.(*bounded)
	f := &failing{Listener: b.Listener}
	f.left.Store(5)
	b.Listener = f
	serve(t, newHost(), d)
	if status := get(dialAs(t, 0, d.Addr()), "/v1/vifs"); status != 200 {
		t.Error(status)
	}
}

// A port that another program has keeps nothing from going on: the doctor says
// so, and the door opens when it can.
func TestLateDoor(t *testing.T) {
	needRoot(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, err := ListenTCP(other.Addr().String(), "", "")
	if err != nil || sluice.CodeOf(d.Problem()) != sluice.Conflict || d.URL() != "http://"+other.Addr().String()+"/" {
		t.Fatal(err, d.Problem(), d.URL())
	}
	u, root := unixDoor(t)
	serve(t, newHost(), d, u)
	found, err := root.Doctor(t.Context())
	if last := found[len(found)-1]; err != nil || last.OK || last.Name != "page" || !strings.Contains(last.Detail, "address already in use") && !strings.Contains(last.Detail, "cannot listen") {
		t.Errorf("%+v, %v", found, err)
	}
	other.Close()
	for tries := 0; d.Problem() != nil; tries++ {
		if tries == 100 {
			t.Fatal("it does not open:", d.Problem())
		}
		time.Sleep(100 * time.Millisecond)
	}
	if status, _, _ := ask(t, d, "GET", "/v1/vifs", ""); status != 200 {
		t.Error(status)
	}
	if found, err := root.Doctor(t.Context()); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}
