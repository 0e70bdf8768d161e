package http

import (
	"fmt"
	"net"
	"time"
)

// client is who holds connections at a door.
type client struct {
	name    string
	root    bool // root of this host
	conns   int
	answers chan struct{} // holds one for each answer that is being made or taken
}

// conn is a connection that was let in.
type conn struct {
	net.Conn
	door   *bounded
	client *client
	peer   peer  // on a Unix socket
	err    error // why the peer is not known

	// door.mu guards what follows.
	idle  bool // waits for a request
	since time.Time
	gone  bool
}

// identify says whose connection it is, and whether it is root's.
func (b *bounded) identify(c *conn) (name string, root bool) {
	if u, ok := c.Conn.(*net.UnixConn); ok {
		if c.peer, c.err = peerOf(u); c.err != nil {
			return "unknown", false
		}
		return fmt.Sprint("uid ", c.peer.uid), c.peer.uid == 0
	}
	local, remote := addrPort(c.LocalAddr()).Addr(), addrPort(c.RemoteAddr()).Addr()
	if remote == local || remote.IsLoopback() {
		if uid, err := b.owners.of(c.Conn); err == nil {
			return fmt.Sprint("uid ", uid), uid == 0
		}
		return "this host", false
	}
	if remote.Is6() { // one customer has 2^64 of them
		if p, err := remote.Prefix(64); err == nil {
			return p.String(), false
		}
	}
	return remote.String(), false
}

// use notes that the connection has a request, or waits for one.
func (c *conn) use(busy bool) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	c.idle, c.since = !busy, time.Now()
}

// Close closes the connection and makes room for another.
func (c *conn) Close() error {
	c.door.mu.Lock()
	c.door.leave(c)
	c.door.mu.Unlock()
	return c.Conn.Close()
}

// refuse closes a connection with words, as far as they are taken at once.
func refuse(c net.Conn) {
	defer c.Close()
	const words = `{"code":"unavailable","message":"this client holds as many connections as it may, and all are in use",` +
		`"unchanged":"nothing was changed","try":"close some, or again later"}`
	_ = c.SetWriteDeadline(time.Now().Add(refuseTime))
	fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(words), words)
}
