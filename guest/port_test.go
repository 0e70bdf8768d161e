package guest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// chardev does what QEMU does between a virtio-serial port and its Unix
// socket: one host at a time; the VM's side stays; what a host left behind,
// the VM still reads, and what the VM wrote, the next host finds.
type chardev struct {
	socket string
	guest  net.Conn // the VM's end of the port

	listener net.Listener
	inner    net.Conn
	slice    int // bytes go over in pieces of at most so many

	mu   sync.Mutex
	host net.Conn
}

func newChardev(t *testing.T, slice int) *chardev {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &chardev{socket: filepath.Join(t.TempDir(), "sluice"), slice: slice}
	for i, end := range []*net.Conn{&c.guest, &c.inner} {
		file := os.NewFile(uintptr(fds[i]), "port")
		if *end, err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	if c.listener, err = net.Listen("unix", c.socket); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(c.toGuest)
	wg.Go(c.toHost)
	t.Cleanup(func() {
		c.listener.Close()
		c.inner.Close()
		c.guest.Close()
		c.hangUp()
		wg.Wait()
	})
	return c
}

func (c *chardev) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.host != nil {
		c.host.Close()
	}
}

func (c *chardev) toGuest() {
	for {
		host, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.host = host
		c.mu.Unlock()
		b := make([]byte, c.slice)
		for {
			n, err := host.Read(b[:1+rand.IntN(c.slice)])
			if err != nil {
				break
			}
			c.inner.Write(b[:n])
		}
		c.mu.Lock()
		c.host.Close()
		c.host = nil
		c.mu.Unlock()
	}
}

func (c *chardev) toHost() {
	b := make([]byte, c.slice)
	for {
		n, err := c.inner.Read(b[:1+rand.IntN(c.slice)])
		if err != nil {
			return
		}
		for {
			c.mu.Lock()
			host := c.host
			c.mu.Unlock()
			if host != nil {
				host.Write(b[:n]) // a host that goes takes it along
				break
			}
			if c.closed() {
				return
			}
			time.Sleep(time.Millisecond) // nobody listens: it waits in the port
		}
	}
}

func (c *chardev) closed() bool {
	c.inner.SetReadDeadline(time.Now().Add(-1))
	_, err := c.inner.Read(nil)
	c.inner.SetReadDeadline(time.Time{})
	return err != nil && !os.IsTimeout(err)
}

// answering has a Port answer at the VM's end, with 100 samples.
func answering(t *testing.T, end portFile) *Keeper {
	t.Helper()
	k, _ := open(t, filepath.Join(t.TempDir(), "usage.db"), day)
	for i := range 100 {
		k.Keep(of(time.Now(), uint64(i), 3))
	}
	ctx, cancel := context.WithCancel(context.Background())
	port := Port{Keeper: k, Log: slog.New(slog.DiscardHandler)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		port.answer(ctx, end)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return k
}

func TestPort(t *testing.T) {
	for _, slice := range []int{1, 7, 64 << 10} {
		line := newChardev(t, slice)
		k := answering(t, line.guest)
		c := client(t, "unix:"+line.socket)
		for _, limit := range []int{3, 100, MaxLimit} {
			follow(t, k, c, limit)
		}
	}
}

// Hosts come, ask, and go at any moment: in the middle of their question or
// of the answer. The next one has its own answer all the same.
func TestPortReconnects(t *testing.T) {
	line := newChardev(t, 512)
	k := answering(t, line.guest)
	question := `{"nonce":"old","after":0,"limit":100}`
	for round := range 30 {
		rude, err := net.Dial("unix", line.socket)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("\n"+question, 1+round%3)
		io.WriteString(rude, text[:1+rand.IntN(len(text))])
		if round%2 == 0 {
			io.WriteString(rude, "\n")
			rude.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			io.CopyN(io.Discard, rude, rand.Int64N(2000))
		}
		rude.Close()
		c := client(t, "unix:"+line.socket)
		follow(t, k, c, 40)
		c.Close()
	}
}

// One Client lives on when QEMU or the connection goes and comes back.
func TestPortConnectionLost(t *testing.T) {
	line := newChardev(t, 512)
	k := answering(t, line.guest)
	c := client(t, "unix:"+line.socket)
	for range 10 {
		follow(t, k, c, 40)
		line.hangUp()
		time.Sleep(10 * time.Millisecond)
	}
}

// What a port reads that is no question is dropped, and the question behind
// it is answered.
func TestPortGarbage(t *testing.T) {
	for name, garbage := range map[string]string{
		"nothing":       "\n\n\n",
		"garbage":       "hello\r\n",
		"no nonce":      `{"after":1}` + "\n",
		"a long nonce":  `{"nonce":"` + strings.Repeat("x", 65) + `"}` + "\n",
		"a long line":   strings.Repeat("x", 3*maxRequest) + "\n",
		"just too long": strings.Repeat("x", maxRequest) + "\n",
		"half a line":   `{"nonce":"a","after`,
		"zeros":         strings.Repeat("\x00", 5000),
		"negative":      `{"nonce":"a","after":-1}` + "\n",
	} {
		line := newChardev(t, 512)
		answering(t, line.guest)
		conn, err := net.Dial("unix", line.socket)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, garbage+"\n"+`{"nonce":"mine","limit":1}`+"\n")
		lines := bufio.NewScanner(conn)
		for lines.Scan() && lines.Text() == "" {
		}
		if _, ours, err := parseAnswer(lines.Bytes(), "mine", 1); !ours || err != nil {
			t.Errorf("%s: %.200q, %v", name, lines.Text(), err)
		}
		conn.Close()
	}
}

// Whatever is at the port's path, ending ends at once. /dev/null reads as
// ended again and again, as a port does that no host holds.
func TestPortServe(t *testing.T) {
	k, _ := open(t, filepath.Join(t.TempDir(), "usage.db"), day)
	k.Keep(of(time.Now(), 1, 1))
	for name, path := range map[string]string{
		"absent":   filepath.Join(t.TempDir(), "none"),
		"no right": "/proc/self/mem/x",
		"ended":    os.DevNull,
	} {
		ctx, cancel := context.WithCancel(context.Background())
		port := Port{Path: path, Keeper: k, Log: slog.New(slog.DiscardHandler)}
		done := make(chan struct{})
		go func() {
			port.Serve(ctx)
			close(done)
		}()
		time.Sleep(50 * time.Millisecond)
		cancel()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it does not end", name)
		}
	}
}

// A connection that nobody uses is closed.
func TestLinkIdle(t *testing.T) {
	gone := make(chan struct{})
	once := sync.OnceFunc(func() { close(gone) })
	c := hostile(t, "unix", func(conn net.Conn) {
		fmt.Fprintf(conn, "{\"nonce\":%q,\"samples\":{\"database\":\"d\",\"samples\":[]}}\n", head(conn))
		io.Copy(io.Discard, conn)
		once()
	})
	c.link.idle = 20 * time.Millisecond
	if _, err := c.Pull(context.Background(), 0, 1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("it stays open")
	}
	if _, err := c.Pull(context.Background(), 0, 1); err != nil {
		t.Errorf("the next pull: %v", err)
	}
}

func FuzzPortRequest(f *testing.F) {
	f.Add([]byte("\n" + `{"nonce":"a","after":1,"limit":3}` + "\n"))
	f.Add([]byte(strings.Repeat("x", 3000) + "\n{}\n"))
	f.Add([]byte(`{"nonce":"a","after":18446744073709551615,"limit":-9}` + "\n"))
	k, _ := open(f, filepath.Join(f.TempDir(), "usage.db"), day)
	k.Keep(of(time.Now(), 1, 1))
	port := Port{Keeper: k, Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, text []byte) {
		port.answer(context.Background(), &script{strings.NewReader(string(text))})
	})
}

// script is a port that says what is written.
type script struct{ io.Reader }

func (*script) Write(b []byte) (int, error)      { return len(b), nil }
func (*script) Close() error                     { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
