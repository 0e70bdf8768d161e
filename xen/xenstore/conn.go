package xenstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// conn is one connection: requests out, answers and events in. It lives
// until its first error.
type conn struct {
	rwc   io.ReadWriteCloser
	event func(path, token string)
	gone  chan struct{} // closed when the connection has broken
	limit int           // of a request's payload, in bytes

	// turn is what a request holds until its answer, if only one may be under
	// way; else nil. The kernel's device keeps one buffer for a file: the next
	// request overwrites one that it has not passed on yet (Linux 6.1,
	// drivers/xen/xenbus/xenbus_xs.c, xenbus_dev_request_and_reply).
	turn chan struct{}

	// writing keeps messages whole on the wire. It is apart from mu, so that
	// a full pipe towards xenstored does not keep answers from being taken.
	writing sync.Mutex

	mu      sync.Mutex
	last    uint32 // request
	waiting map[uint32]chan message
	broken  bool
}

func newConn(rwc io.ReadWriteCloser, event func(path, token string)) *conn {
	c := &conn{rwc: rwc, event: event, gone: make(chan struct{}), limit: MaxPayload, waiting: make(map[uint32]chan message)}
	if _, device := rwc.(*os.File); device {
		c.limit = MaxPayload - headerSize // the kernel's buffer holds both
		c.turn = make(chan struct{}, 1)
	}
	go c.read()
	return c
}

// request sends one request and waits for its answer. An asker who does not
// wait any longer leaves the request under way; its answer is dropped.
func (c *conn) request(ctx context.Context, op, tx uint32, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(payload) > c.limit {
		return nil, ErrTooBig
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	id, answer, err := c.register()
	if err != nil {
		c.finish()
		return nil, err
	}
	wire := message{op, id, tx, payload}.append(make([]byte, 0, headerSize+len(payload)))
	sent := make(chan error, 1)
	go func() { // a xenstored that does not read must not hold up the asker
		c.writing.Lock()
		defer c.writing.Unlock()
		_, err := c.rwc.Write(wire)
		sent <- err
	}()
	for {
		select {
		case err := <-sent:
			if err != nil {
				c.breakUp()
			}
			sent = nil
		case m, ok := <-answer:
			c.finish()
			switch {
			case !ok:
				return nil, ErrLost
			case m.op == opError:
				return nil, Errno(first(m.payload))
			case m.op != op:
				c.breakUp()
				return nil, fmt.Errorf("xenstore: an answer of type %d to a request of type %d", m.op, op)
			}
			return m.payload, nil
		case <-ctx.Done():
			if c.turn != nil {
				go func() { <-answer; c.finish() }()
			}
			return nil, ctx.Err()
		}
	}
}

// begin waits for the request's turn, where they take turns.
func (c *conn) begin(ctx context.Context) error {
	if c.turn == nil {
		return nil
	}
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-c.gone:
		return ErrLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) finish() {
	if c.turn != nil {
		<-c.turn
	}
}

// register opens a place for an answer. Requests are numbered from 1: 0 is
// what events have.
func (c *conn) register() (uint32, <-chan message, error) {
	answer := make(chan message, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return 0, nil, ErrLost
	}
	for {
		c.last++
		if _, taken := c.waiting[c.last]; c.last != 0 && !taken {
			break
		}
	}
	c.waiting[c.last] = answer
	return c.last, answer, nil
}

// read hands out what comes in until the connection breaks.
func (c *conn) read() {
	defer c.breakUp()
	r := bufio.NewReaderSize(c.rwc, headerSize+MaxPayload)
	for {
		m, err := readMessage(r)
		if err != nil {
			return
		}
		if m.op == opWatchEvent {
			if words := split(m.payload); len(words) >= 2 {
				c.event(words[0], words[1])
			}
			continue
		}
		c.mu.Lock()
		answer := c.waiting[m.request]
		delete(c.waiting, m.request)
		c.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	}
}

// breakUp ends the connection; whoever waits for an answer learns so.
func (c *conn) breakUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return
	}
	c.broken = true
	for id, answer := range c.waiting {
		close(answer)
		delete(c.waiting, id)
	}
	close(c.gone)
	c.rwc.Close()
}
