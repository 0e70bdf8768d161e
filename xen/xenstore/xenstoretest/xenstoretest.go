// Package xenstoretest is a xenstored for tests on machines without Xen: the
// wire protocol, a tree, transactions that conflict, watches that fire. It
// keeps no quota and lets everybody do everything. Package xenstore's tests
// hold it against the real one: the same run in a Xen host.
package xenstoretest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Server is a xenstored on a Unix socket.
type Server struct {
	Socket   string
	listener net.Listener

	mu       sync.Mutex
	nodes    map[string]node
	writes   int // counts every change of nodes
	watches  map[*session]map[[2]string]bool
	sessions map[*session]bool
	mute     bool // take requests, answer none
}

type node struct {
	value   string
	perms   string
	written int
}

type session struct {
	server  *Server
	conn    net.Conn
	writing sync.Mutex
	txs     map[uint32]*picture
	lastTx  uint32
}

// Mute has the server take requests, carry them out and answer none.
func (d *Server) Mute(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mute = yes
}

// picture is a transaction's own tree.
type picture struct {
	nodes  map[string]node
	from   int
	change []string
}

// Start runs a server with an empty tree until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	d := &Server{Socket: filepath.Join(t.TempDir(), "socket"), nodes: map[string]node{"/": {perms: "n0"}},
		watches: map[*session]map[[2]string]bool{}, sessions: map[*session]bool{}}
	d.Listen(t)
	t.Cleanup(d.Stop)
	return d
}

// Listen takes connections, again after Stop.
func (d *Server) Listen(t testing.TB) {
	t.Helper()
	l, err := net.Listen("unix", d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	d.listener = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s := &session{server: d, conn: conn, txs: map[uint32]*picture{}}
			d.mu.Lock()
			d.sessions[s], d.watches[s] = true, map[[2]string]bool{}
			d.mu.Unlock()
			go s.serve()
		}
	}()
}

// Stop ends the server and its connections, as if it crashed; the tree stays.
func (d *Server) Stop() {
	d.listener.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sessions {
		s.conn.Close()
	}
}

func (s *session) serve() {
	d := s.server
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watches, s)
		delete(d.sessions, s)
		s.conn.Close()
	}()
	for {
		var header [4]uint32
		if binary.Read(s.conn, binary.LittleEndian, &header) != nil || header[3] > 4096 {
			return
		}
		payload := make([]byte, header[3])
		if _, err := io.ReadFull(s.conn, payload); err != nil {
			return
		}
		d.mu.Lock()
		answer, errno := s.handle(header[0], header[2], payload)
		mute := d.mute
		d.mu.Unlock()
		if mute {
			continue
		}
		op := header[0]
		if errno != "" {
			op, answer = 16, []byte(errno+"\x00")
		}
		s.send(op, header[1], header[2], answer)
		if op == 4 { // a new watch fires at once
			words := strings.Split(string(payload), "\x00")
			s.send(15, 0, 0, []byte(words[0]+"\x00"+words[1]+"\x00"))
		}
	}
}

func (s *session) send(op, request, tx uint32, payload []byte) {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, [4]uint32{op, request, tx, uint32(len(payload))})
	b.Write(payload)
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = s.conn.Write(b.Bytes())
}

func (s *session) handle(op, tx uint32, payload []byte) ([]byte, string) {
	d, ok := s.server, []byte("OK\x00")
	words := strings.Split(string(payload), "\x00")
	path := words[0]
	if !strings.HasPrefix(path, "/") && path != "" && !strings.HasPrefix(path, "@") {
		path = "/local/domain/0/" + path
	}
	now := &picture{nodes: d.nodes}
	if tx != 0 && op != 6 {
		if now = s.txs[tx]; now == nil {
			return nil, "ENOENT"
		}
	}
	_, there := now.nodes[path]
	switch op {
	case 1, 22:
		if !there {
			return nil, "ENOENT"
		}
		list := strings.Join(children(now.nodes, path), "\x00")
		if list != "" {
			list += "\x00"
		}
		if op == 1 {
			if len(list) > 4096 {
				return nil, "E2BIG"
			}
			return []byte(list), ""
		}
		offset, _ := strconv.Atoi(words[1])
		generation := fmt.Sprint(d.writes, "\x00")
		part := (list + "\x00")[min(offset, len(list)):]
		return []byte(generation + part[:min(len(part), 4096-len(generation))]), ""
	case 2:
		if !there {
			return nil, "ENOENT"
		}
		return []byte(now.nodes[path].value), ""
	case 3:
		if !there {
			return nil, "ENOENT"
		}
		return []byte(strings.ReplaceAll(now.nodes[path].perms, " ", "\x00") + "\x00"), ""
	case 4:
		key := [2]string{path, words[1]}
		if d.watches[s][key] {
			return nil, "EEXIST"
		}
		d.watches[s][key] = true
		return ok, ""
	case 5:
		delete(d.watches[s], [2]string{path, words[1]})
		return ok, ""
	case 6:
		s.lastTx++
		s.txs[s.lastTx] = &picture{nodes: maps.Clone(d.nodes), from: d.writes}
		return fmt.Append(nil, s.lastTx, "\x00"), ""
	case 7:
		delete(s.txs, tx)
		if words[0] == "F" {
			return ok, ""
		}
		if d.writes != now.from {
			return nil, "EAGAIN"
		}
		d.nodes = now.nodes
		d.fire(now.change)
		return ok, ""
	case 10:
		return []byte("/local/domain/" + words[0] + "\x00"), ""
	case 11, 12:
		value := string(payload[len(words[0])+1:])
		if op == 12 {
			if there {
				return ok, ""
			}
			value = ""
		}
		perms := "n0"
		if there {
			perms = now.nodes[path].perms
		}
		for up := filepath.Dir(path); ; up = filepath.Dir(up) {
			if _, there := now.nodes[up]; there {
				break
			}
			now.nodes[up] = node{perms: "n0"}
		}
		now.nodes[path] = node{value: value, perms: perms}
	case 13:
		if _, parent := now.nodes[filepath.Dir(path)]; !parent {
			return nil, "ENOENT"
		}
		if !there {
			return ok, ""
		}
		for name := range now.nodes {
			if name == path || strings.HasPrefix(name, path+"/") {
				delete(now.nodes, name)
			}
		}
	case 14:
		if !there {
			return nil, "ENOENT"
		}
		n := now.nodes[path]
		n.perms = strings.TrimSpace(strings.Join(words[1:], " "))
		now.nodes[path] = n
	default:
		return nil, "EINVAL"
	}
	if tx != 0 {
		now.change = append(now.change, path)
	} else {
		d.fire([]string{path})
	}
	return ok, ""
}

// fire tells the watches of changed paths.
func (d *Server) fire(paths []string) {
	d.writes++
	for _, path := range paths {
		for s, watches := range d.watches {
			for w := range watches {
				if path == w[0] || strings.HasPrefix(path, strings.TrimSuffix(w[0], "/")+"/") {
					go s.send(15, 0, 0, []byte(path+"\x00"+w[1]+"\x00"))
				}
			}
		}
	}
}

func children(nodes map[string]node, path string) []string {
	var names []string
	for name := range nodes {
		if name != "/" && filepath.Dir(name) == path {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names
}
