package http

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds on what clients may hold. A client is a user of this host, or an
// address outside it. The two kinds of door share nothing, and on the Unix
// socket root is not bounded at all.
const (
	mostConns       = 512 // connections at one door
	mostClientConns = 128 // of them, of one client; a browser has six, a proxy a hundred
	// descriptorShare is what part of the descriptors that the process may have
	// one door may take: the rest is for the store, the collectors and the kernel.
	descriptorShare = 4
	leastConns      = 16

	mostStreams       = 64 // of events, at one door; a page is one
	mostClientStreams = 32
	mostClientAnswers = 4 // answers to one client that are made or taken at once

	refuseTime = 100 * time.Millisecond // to take the words with which a connection is refused
)

// bounded is a listener that hands on only as many connections as one door
// and one client may hold. It goes on accepting whatever happens: an error
// such as too many open files is waited out.
type bounded struct {
	net.Listener
	owners owners
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex // guards what follows
	clients map[string]*client
	conns   map[*conn]bool
}

func bound(l net.Listener) *bounded {
	return &bounded{Listener: l, closed: make(chan struct{}), clients: make(map[string]*client), conns: make(map[*conn]bool)}
}

// Accept returns the next connection that may be held. Its only error is that
// the listener was closed.
func (b *bounded) Accept() (net.Conn, error) {
	pause := time.Duration(0)
	for {
		c, err := b.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			if one := b.enter(c); one != nil {
				return one, nil
			}
		case errors.Is(err, net.ErrClosed):
			return nil, err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-b.closed:
				return nil, net.ErrClosed
			case <-time.After(pause):
			}
		}
	}
}

// Close ends Accept; connections stay open.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	b.owners.close()
	return b.Listener.Close()
}

// enter lets a connection in, if need be in place of one that waits idle; nil
// if there is none to give way.
func (b *bounded) enter(c net.Conn) *conn {
	one := &conn{Conn: c, door: b, idle: true, since: time.Now()}
	name, root := b.identify(one)
	b.mu.Lock()
	who := b.clients[name]
	if who == nil {
		who = &client{name: name, root: root, answers: make(chan struct{}, mostClientAnswers)}
	}
	_, unix := c.(*net.UnixConn)
	var leaving []*conn
	switch most := b.most(); {
	case root && unix:
	case who.conns >= min(most, mostClientConns) && !root:
		leaving = b.giveWay(func(o *conn) bool { return o.client == who }, 1)
		if leaving == nil {
			b.mu.Unlock()
			refuse(c)
			return nil
		}
	case b.bounded() >= most:
		// Of the client that has most, so that one with many never keeps others out.
		largest := who
		for _, other := range b.clients {
			if other.conns > largest.conns && !(unix && other.root) {
				largest = other
			}
		}
		leaving = b.giveWay(func(o *conn) bool { return o.client == largest }, b.bounded()-most+1)
		if leaving == nil && (!root || b.bounded() >= most+leastConns) {
			b.mu.Unlock()
			refuse(c)
			return nil
		}
	}
	one.client = who
	who.conns++
	b.clients[name] = who
	b.conns[one] = true
	b.mu.Unlock()
	for _, o := range leaving {
		o.Conn.Close()
	}
	return one
}

// bounded counts the connections that a bound holds for. The caller holds mu.
func (b *bounded) bounded() int {
	n := len(b.conns)
	if _, unix := b.Listener.(*net.UnixListener); unix {
		for _, c := range b.clients {
			if c.root {
				n -= c.conns
			}
		}
	}
	return n
}

// giveWay takes the n connections out that wait idle the longest, of those
// that may; nil if there is none. The caller holds mu, and closes them after.
func (b *bounded) giveWay(may func(*conn) bool, n int) (leaving []*conn) {
	var idle []*conn
	for c := range b.conns {
		if c.idle && may(c) {
			idle = append(idle, c)
		}
	}
	slices.SortFunc(idle, func(x, y *conn) int { return x.since.Compare(y.since) })
	leaving = idle[:min(n, len(idle))]
	for _, c := range leaving {
		b.leave(c)
	}
	return leaving
}

// leave forgets a connection. The caller holds mu.
func (b *bounded) leave(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	delete(b.conns, c)
	if c.client.conns--; c.client.conns == 0 {
		delete(b.clients, c.client.name)
	}
}

// most is how many connections the door may hold now: the limit of the
// process can be changed while it runs (prlimit).
func (b *bounded) most() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return leastConns
	}
	return int(max(leastConns, min(mostConns, limit.Cur/descriptorShare)))
}
