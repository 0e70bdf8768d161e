package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	address string
	http    *http.Client // nil for a virtio-serial port
	port    *hostPort    // nil for TCP

	turn chan struct{} // holds the one that pulls
}

// NewClient returns a Client of the collector at address: "unix:/path" is the
// host's end of a virtio-serial port, anything else is "host:port". It is
// Invalid if it is neither. Nothing is connected yet.
func NewClient(address string) (*Client, error) {
	c := &Client{address: address, turn: make(chan struct{}, 1)}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && strings.HasPrefix(path, "/") {
		c.port = &hostPort{path: path}
		return c, nil
	}
	if u, err := url.Parse("http://" + address); err != nil || u.Host != address || u.Port() == "" || u.Hostname() == "" {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not a collector's address", address), Try: "192.0.2.10:9511, or unix:/run/vm/web.sluice for a virtio-serial port"}
	}
	c.http = &http.Client{
		Transport: &http.Transport{ // no proxy: the VM is next door
			MaxConnsPerHost:        1,
			IdleConnTimeout:        clientIdle,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // or a small answer could be a large one
			WriteBufferSize:        maxHeader,
			ReadBufferSize:         16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Pull returns at most limit samples (1 to [MaxLimit]) with IDs above after,
// oldest first. It returns by ctx's end, and within 5 seconds. The error is
// Unavailable when the VM cannot be reached, is too slow, or gives an answer
// that no collector gives.
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
	ask := c.pullHTTP
	if c.port != nil {
		ask = c.port.pull
	}
	got, err := ask(ctx, after, limit)
	if err == nil {
		err = check(got, after, limit)
	}
	if err != nil {
		c.hangUp()
		return sluice.Samples{}, c.unavailable(ctx, err)
	}
	return got, nil
}

// Close closes the connection, if there is one. The Client can still be used.
func (c *Client) Close() {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.hangUp()
}

func (c *Client) hangUp() {
	if c.port != nil {
		c.port.hangUp()
	} else {
		c.http.CloseIdleConnections()
	}
}

func (c *Client) unavailable(ctx context.Context, err error) error {
	e := &sluice.Error{Code: sluice.Unavailable, Message: "the collector at " + c.address + " does not answer as it should", Err: err}
	if ctx.Err() != nil {
		e.Message, e.Err = "the collector at "+c.address+" gave no whole answer in time", ctx.Err()
	}
	return e
}

func (c *Client) pullHTTP(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	var none sluice.Samples
	url := fmt.Sprintf("http://%s/v1/samples?after=%d&limit=%d", c.address, after, limit)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return none, err
	}
	request.Header.Set("User-Agent", "sluice")
	response, err := c.http.Do(request)
	if err != nil {
		return none, shortened(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return none, shortened(err)
	}
	if len(text) > maxAnswer {
		return none, errLong
	}
	if response.StatusCode != http.StatusOK {
		return none, fmt.Errorf("status %s: %.200q", strconv.Itoa(response.StatusCode), text)
	}
	return parseSamples(text, limit)
}

var errLong = fmt.Errorf("its answer is longer than %d bytes", maxAnswer)

// shortened keeps what a VM can put into an error from filling a log.
func shortened(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the address, which is said already
	}
	if text := err.Error(); len(text) > 200 {
		return errors.New(strconv.Quote(text[:200]))
	}
	return err
}
