package guest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice"
)

const (
	clientTime = 5 * time.Second  // for one pull, where the caller says nothing shorter
	clientIdle = 30 * time.Second // after which a connection that nobody uses is closed
)

// Client pulls from one VM's collector. It keeps one connection between pulls
// and closes it when it fails, or when half a minute passes without a pull:
// a Client that is forgotten leaks nothing. Its methods may be used at once.
type Client struct {
	name string
	link link
	turn chan struct{} // holds the one that pulls
}

// NewClient returns a Client of the collector at address: "unix:/path" is the
// host's end of a virtio-serial port, anything else is "host:port". It is
// Invalid if it is neither. Nothing is connected yet.
func NewClient(address string) (*Client, error) {
	c := &Client{name: address, turn: make(chan struct{}, 1)}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && strings.HasPrefix(path, "/") {
		c.link = link{network: "unix", address: path, exchange: exchangeLines, idle: clientIdle}
		return c, nil
	}
	if u, err := url.Parse("http://" + address); err != nil || u.Host != address || u.Port() == "" || u.Hostname() == "" {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not a collector's address", address), Try: "192.0.2.10:9511, or unix:/run/vm/web.sluice for a virtio-serial port"}
	}
	c.link = link{network: "tcp", address: address, exchange: exchangeHTTP, idle: clientIdle}
	return c, nil
}

// Pull returns at most limit samples (1 to [MaxLimit]) with IDs above after,
// oldest first. It returns by ctx's end, and within 5 seconds. The error is
// Unavailable when the VM cannot be reached, is too slow, or gives an answer
// that no collector gives; also then Cost says what it took.
func (c *Client) Pull(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTime)
	defer cancel()
	limit = max(1, min(limit, MaxLimit))
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return sluice.Samples{}, c.unavailable(ctx, ctx.Err())
	}
	got, err := c.link.pull(ctx, after, limit)
	if err == nil {
		err = nonsense(check(got, after, limit))
	}
	if err != nil {
		c.link.hangUp()
		return sluice.Samples{Cost: got.Cost}, c.unavailable(ctx, err)
	}
	return got, nil
}

// Close closes the connection, if there is one. The Client can still be used.
func (c *Client) Close() { c.link.hangUp() }

func (c *Client) unavailable(ctx context.Context, err error) error {
	e := &sluice.Error{Code: sluice.Unavailable, Message: "the collector at " + c.name + " does not answer as it should", Err: shortened(err)}
	if ctx.Err() != nil {
		e.Message, e.Err = "the collector at "+c.name+" gave no whole answer in time", ctx.Err()
	}
	return e
}

// shortened keeps what a VM can put into an error from filling a log.
func shortened(err error) error {
	if text := err.Error(); len(text) > 300 || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return errors.New(strconv.Quote(text[:min(len(text), 200)]))
	}
	return err
}
