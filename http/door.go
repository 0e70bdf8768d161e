package http

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sluice"
)

// Group may use the Unix socket beside root.
const Group = "sluice"

// A Door is one listener and what is needed to pass it.
type Door struct {
	net.Listener
	late    *late // nil where it was open from the start
	unix    bool
	exposed bool     // reachable from other machines: TLS, and reading needs the token too
	names   []string // what Host may say, beside the address itself
}

// Problem is why the door is not open yet, or nil.
func (d *Door) Problem() error {
	if d.late == nil {
		return nil
	}
	return d.late.problem()
}

// URL is what to open in a browser; "" for a Unix socket.
func (d *Door) URL() string {
	switch {
	case d.unix:
		return ""
	case d.exposed:
		return "https://" + d.Addr().String() + "/"
	}
	return "http://" + d.Addr().String() + "/"
}

// ListenUnix opens the Unix socket at path, for root and [Group]. A socket
// that nobody listens on any more is replaced; one that a daemon answers on
// is a Conflict.
func ListenUnix(path string) (*Door, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, cannotListen(path, err)
	}
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return nil, &sluice.Error{Code: sluice.Refused, Message: path + " exists and is not a socket",
			Unchanged: "it was left as it is", Try: "another path with --socket"}
	case err == nil:
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			conn.Close()
			return nil, &sluice.Error{Code: sluice.Conflict, Message: "another sluice daemon already answers on " + path,
				Unchanged: "it goes on as before", Try: "stop it first, or give this one its own --socket and --state-dir"}
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, cannotListen(path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, cannotListen(path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, cannotListen(path, err)
	}
	// Whoever connects before these two lines is still asked who it is.
	if gid, ok := new(nss).group(Group); ok {
		if err := os.Chown(path, -1, gid); err != nil {
			l.Close()
			return nil, cannotListen(path, err)
		}
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, cannotListen(path, err)
	}
	return &Door{Listener: bound(l), unix: true}, nil
}

// ListenTCP opens addr. Without a certificate and key it must be loopback. An
// address that another program has is no error: the door opens when it can,
// and [Door.Problem] says why it has not yet.
func ListenTCP(addr, certFile, keyFile string) (*Door, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not an address to listen on", addr),
			Try: "host:port, such as 127.0.0.1:8511", Err: err}
	}
	if certFile == "" && host != "localhost" && !isLoopback(host) {
		return nil, notLoopback(addr) // before the port is opened, however briefly
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("%q is not an address to listen on", addr),
			Try: "host:port, such as 127.0.0.1:8511", Err: err}
	}
	l := listenLate(addr, certFile == "")
	d, err := Adopt(l, certFile, keyFile)
	if err != nil {
		l.Close()
		return nil, err
	}
	d.late = l
	if host != "" {
		d.names = append(d.names, host)
	}
	return d, nil
}

// Adopt makes a door of a TCP listener somebody else opened (systemd's socket
// activation), under the same rules as [ListenTCP].
func Adopt(l net.Listener, certFile, keyFile string) (*Door, error) {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("the listener handed over, %s, is not TCP", l.Addr()),
			Try: "hand over a TCP socket; the Unix socket is named by --socket"}
	}
	d := &Door{Listener: bound(l), exposed: !addr.IP.IsLoopback()}
	if certFile == "" {
		if d.exposed {
			return nil, notLoopback(addr.String())
		}
		d.names = []string{"localhost"}
		return d, nil
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, &sluice.Error{Code: sluice.Invalid, Message: "the certificate or its key cannot be read",
			Unchanged: "nothing was started", Try: "check tls_cert and tls_key in the settings file", Err: err}
	}
	// With TLS whoever connects is treated as coming from outside.
	d.exposed, d.names = true, append([]string{"localhost"}, cert.Leaf.DNSNames...)
	for _, ip := range cert.Leaf.IPAddresses {
		d.names = append(d.names, ip.String())
	}
	d.Listener = tls.NewListener(d.Listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	return d, nil
}

// knows reports whether host, as a request's Host says it, is this door. The
// port is left out: through a forwarded port (ssh -L) it is another.
func (d *Door) knows(host string, local net.Addr) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	for _, name := range d.names {
		if strings.EqualFold(host, name) {
			return true
		}
	}
	// An address cannot be rebound as a name can: the one connected to is this door.
	ip, addr := net.ParseIP(host), tcpIP(local)
	return ip != nil && addr != nil && (ip.Equal(addr) || ip.IsLoopback() && addr.IsLoopback())
}

func tcpIP(a net.Addr) net.IP {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func notLoopback(addr string) error {
	return &sluice.Error{Code: sluice.Refused, Message: addr + " can be reached from other machines, and there is no certificate",
		Unchanged: "nothing was started", Try: "a loopback address such as 127.0.0.1:8511, or tls_cert and tls_key in the settings file"}
}

func cannotListen(where string, err error) error {
	e := &sluice.Error{Code: sluice.Unavailable, Message: "cannot listen on " + where, Err: err}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		e.Err = sys.Err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Code, e.Try = sluice.Conflict, "another port with --listen, or end what uses this one (ss -ltnp names it)"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Code, e.Try = sluice.Refused, "run as root, or another place"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Code, e.Try = sluice.Invalid, "an address this machine has, such as 127.0.0.1:8511"
	default:
		e.Try = "another place with --socket or --listen"
	}
	return e
}
