package http

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"

	"sluice"
)

// access is what a route needs; the rule for each kind of door is in [Server.admit].
type access int

const (
	public  access = iota // the page's own files: nothing of the host is in them; TCP only
	reading               // usage, settings, the journal
	writing               // anything that changes a host
	owning                // all that the daemon keeps, the token too; Unix socket only
)

// pass is what is known of a connection: its door, whose it is, and the peer on
// a Unix socket.
type pass struct {
	door   *Door
	client *client
	peer   peer
	err    error // why the peer is not known
}

type passKey struct{}

// atDoor and withPeer are http.Server's BaseContext and ConnContext.
func atDoor(l net.Listener) context.Context {
	d, _ := l.(*Door)
	return context.WithValue(context.Background(), passKey{}, pass{door: d})
}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	one := admitted(c)
	if one == nil {
		return ctx
	}
	p, _ := ctx.Value(passKey{}).(pass)
	p.client, p.peer, p.err = one.client, one.peer, one.err
	return context.WithValue(ctx, passKey{}, p)
}

// follow is http.Server's ConnState: it tells a connection whether it waits idle.
func follow(c net.Conn, state http.ConnState) {
	if one := admitted(c); one != nil && (state == http.StateActive || state == http.StateIdle) {
		one.use(state == http.StateActive)
	}
}

// admitted is the connection as a door's listener let it in.
func admitted(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	one, _ := c.(*conn)
	return one
}

// trusted says that a client is bounded by nothing: root, on the Unix socket.
func (p pass) trusted() bool { return p.door != nil && p.door.unix && p.err == nil && p.peer.uid == 0 }

// admit decides whether a request may use a route, and returns who asks, for the journal.
//
//	              public   reading                 writing              owning
//	Unix socket   -        root, group sluice      root, group sluice   root, group sluice
//	loopback      anyone   anyone                  the token            -
//	TLS           anyone   the token               the token            -
//
// and on TCP always with this door's own Host and Origin.
func (s *Server) admit(need access, r *http.Request) (by string, err error) {
	p, _ := r.Context().Value(passKey{}).(pass)
	switch {
	case p.door == nil:
		return "", &sluice.Error{Code: sluice.Internal, Message: "a connection through no door"}
	case p.door.unix && p.err != nil:
		return "", &sluice.Error{Code: sluice.Forbidden, Message: "the kernel does not say who asks", Err: p.err}
	case p.door.unix && need == public:
		return "", noRoute(r)
	case p.door.unix:
		return p.peer.admit(&s.nss)
	case need == owning:
		return "", &sluice.Error{Code: sluice.Forbidden, Message: "all that the daemon keeps is given and taken on its Unix socket only",
			Unchanged: "nothing was changed", Try: "sluice backup or sluice restore on the host"}
	}
	if err := p.door.checkSite(r); err != nil {
		return "", err
	}
	if need == writing || need == reading && p.door.exposed {
		ok, err := s.authorised(r)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", wrongToken()
		}
		by = p.client.person(&s.nss) + " with the token"
	}
	return by, nil
}

// checkSite refuses requests that another site makes a browser send: by a
// name rebound to this address (Host), or straight from its page (Origin).
func (d *Door) checkSite(r *http.Request) error {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !d.knows(r.Host, local) {
		return &sluice.Error{Code: sluice.Forbidden, Message: fmt.Sprintf("Host %.80q is not a name of this daemon", r.Host),
			Unchanged: "nothing was changed", Try: d.URL()}
	}
	scheme := "http://"
	if d.exposed {
		scheme = "https://"
	}
	for _, origin := range r.Header.Values("Origin") {
		if !strings.EqualFold(origin, scheme+r.Host) {
			return &sluice.Error{Code: sluice.Forbidden, Message: fmt.Sprintf("a page of %.80q may not use this daemon", origin),
				Unchanged: "nothing was changed", Try: "the daemon's own page, " + d.URL()}
		}
	}
	return nil
}
