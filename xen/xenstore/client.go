package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Where xenstored is reached: the first in the domain that it runs in, the
// second in every domain.
const (
	Socket = "/run/xenstored/socket"
	Device = "/dev/xen/xenbus"
)

const (
	firstRedial = 50 * time.Millisecond
	lastRedial  = 2 * time.Second
)

// Client is a connection to xenstored that is renewed when it breaks.
type Client struct {
	View // requests outside a transaction
	dial func(context.Context) (io.ReadWriteCloser, error)
	over context.Context // ends with Close
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	conn    *conn         // nil while there is none
	changed chan struct{} // closed at the next change of conn
	watches map[string]*watch
	token   uint64 // the last watch's
}

// Dial connects to xenstored at a path, a Unix socket or the device; "" is
// what XENSTORED_PATH says, as for Xen's own tools, else [Socket] if it is
// there, else [Device].
func Dial(ctx context.Context, path string) (*Client, error) {
	if path == "" {
		path = os.Getenv("XENSTORED_PATH")
	}
	if path == "" {
		path = Device
		if _, err := os.Stat(Socket); err == nil {
			path = Socket
		}
	}
	return New(ctx, func(ctx context.Context) (io.ReadWriteCloser, error) { return open(ctx, path) })
}

// New is Dial with a way of one's own to connect, which is called again
// whenever the connection breaks.
func New(ctx context.Context, dial func(context.Context) (io.ReadWriteCloser, error)) (*Client, error) {
	c := &Client{dial: dial, changed: make(chan struct{}), watches: make(map[string]*watch)}
	c.View = View{client: c}
	c.over, c.end = context.WithCancel(context.Background())
	rwc, err := dial(ctx)
	if err != nil {
		c.end()
		return nil, fmt.Errorf("xenstore: %w", err)
	}
	first := newConn(rwc, c.event)
	c.set(first)
	c.done.Go(func() { c.keep(first) })
	return c, nil
}

// Close ends the connection, every watch and every request. xenstored forgets
// our watches and open transactions by itself.
func (c *Client) Close() error {
	c.end()
	c.done.Wait()
	return nil
}

func open(ctx context.Context, path string) (io.ReadWriteCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSocket != 0 {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// keep replaces the connection whenever it breaks, until Close.
func (c *Client) keep(now *conn) {
	for {
		select {
		case <-now.gone:
		case <-c.over.Done():
			now.breakUp()
			c.set(nil)
			return
		}
		c.set(nil)
		for pause := firstRedial; ; pause = min(2*pause, lastRedial) {
			var err error
			if now, err = c.renew(); err == nil {
				break
			}
			select {
			case <-time.After(pause):
			case <-c.over.Done():
				return
			}
		}
	}
}

// renew makes a connection on which all watches are set, then gives it to
// those who wait for one. xenstored fires every watch once when it is set,
// so that nothing that happened meanwhile is overlooked.
func (c *Client) renew() (*conn, error) {
	ctx, cancel := context.WithTimeout(c.over, 10*time.Second)
	defer cancel()
	rwc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	next := newConn(rwc, c.event)
	done := make(map[string]bool)
	for {
		c.mu.Lock()
		var token string
		var w *watch
		for token, w = range c.watches {
			if !done[token] {
				break
			}
			w = nil
		}
		if w == nil { // all are set
			c.swap(next)
			c.mu.Unlock()
			return next, nil
		}
		c.mu.Unlock()
		if _, err := next.request(ctx, opWatch, 0, arguments(w.path, token)); err != nil {
			var refused Errno
			if !errors.As(err, &refused) {
				next.breakUp()
				return nil, err
			}
		}
		done[token] = true
	}
}

func (c *Client) set(next *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swap(next)
}

func (c *Client) swap(next *conn) {
	c.conn = next
	close(c.changed)
	c.changed = make(chan struct{})
}

// current returns the connection, or waits until there is one.
func (c *Client) current(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		now, changed := c.conn, c.changed
		c.mu.Unlock()
		if c.over.Err() != nil {
			return nil, ErrClosed
		}
		if now != nil {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.over.Done():
		}
	}
}
