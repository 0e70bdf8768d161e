package xen_test

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice/xen/xenstore"
)

// proxy stands between a client and xenstored, and can delay, refuse and cut.
type proxy struct {
	socket string

	mu      sync.Mutex
	pause   time.Duration
	left    int // answers until everything is cut; 0: never
	refused bool
	conns   map[net.Conn]bool
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{socket: filepath.Join(t.TempDir(), "proxy"), conns: map[net.Conn]bool{}}
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.carry(c)
		}
	}()
	return p
}

func (p *proxy) carry(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	if refused {
		return
	}
	server, err := net.Dial("unix", xenstore.Socket)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	go func() { _, _ = io.Copy(server, client); server.Close() }()
	for {
		header := make([]byte, 16)
		if _, err := io.ReadFull(server, header); err != nil {
			return
		}
		body := make([]byte, binary.LittleEndian.Uint32(header[12:]))
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		p.mu.Lock()
		pause := p.pause
		cut := p.left == 1
		if p.left > 0 {
			p.left--
		}
		p.mu.Unlock()
		if cut { // the request was carried out; nobody is told
			p.cut()
			return
		}
		time.Sleep(pause)
		if _, err := client.Write(append(header, body...)); err != nil {
			return
		}
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *proxy) delay(d time.Duration) { p.mu.Lock(); p.pause = d; p.mu.Unlock() }

func (p *proxy) cutAfter(answers int) { p.mu.Lock(); p.left = answers; p.mu.Unlock() }

func (p *proxy) refuse(yes bool) {
	p.mu.Lock()
	p.refused = yes
	p.mu.Unlock()
	if yes {
		p.cut()
	}
}
