package http

import (
	"net"
	"sync"
	"time"
)

// openAgain is how often a TCP door that cannot be opened is tried again.
const openAgain = 2 * time.Second

// late is a TCP listener that opens as soon as it can: whoever has its port
// now, or takes it while the daemon restarts, keeps nothing else from going on.
type late struct {
	addr   string
	local  bool // it may only be a loopback address
	closed chan struct{}
	opened chan struct{} // closed once it is open

	mu  sync.Mutex // guards what follows
	l   net.Listener
	err error // why it is not open yet
}

// listenLate opens addr, now or later; local says that it must be loopback.
func listenLate(addr string, local bool) *late {
	l := &late{addr: addr, local: local, closed: make(chan struct{}), opened: make(chan struct{})}
	l.open()
	return l
}

// open tries to open it; nil if it is not open now.
func (l *late) open() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil
	default:
	}
	if l.l == nil {
		opened, err := net.Listen("tcp", l.addr)
		if l.err = err; err != nil {
			l.err = cannotListen(l.addr, err)
			return nil
		}
		if at, ok := opened.Addr().(*net.TCPAddr); l.local && (!ok || !at.IP.IsLoopback()) {
			opened.Close() // the name means another address now
			l.err = notLoopback(opened.Addr().String())
			return nil
		}
		l.l = opened
		close(l.opened)
	}
	return l.l
}

// problem is why it is not open, or nil.
func (l *late) problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Accept implements [net.Listener]: it waits until it is open, then for a connection.
func (l *late) Accept() (net.Conn, error) {
	for {
		if opened := l.open(); opened != nil {
			return opened.Accept()
		}
		select {
		case <-l.closed:
			return nil, net.ErrClosed
		case <-time.After(openAgain):
		}
	}
}

// Close implements [net.Listener].
func (l *late) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	close(l.closed)
	if l.l == nil {
		return nil
	}
	return l.l.Close()
}

// Addr implements [net.Listener]: where it is, or is to be.
func (l *late) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.l != nil {
		return l.l.Addr()
	}
	a, err := net.ResolveTCPAddr("tcp", l.addr)
	if err != nil {
		return &net.TCPAddr{}
	}
	return a
}
