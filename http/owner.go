package http

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// owners finds which user of this host has the other end of a TCP connection.
// It asks the kernel for that one socket (sock_diag(7)): reading /proc/net/tcp
// would cost more the more connections there are, just when there are many.
type owners struct {
	mu   sync.Mutex
	conn *netlink.Conn // nil until the first question
}

// Offsets and sizes of struct inet_diag_req_v2 and inet_diag_msg, linux/inet_diag.h.
const (
	sockDiagByFamily  = 20
	diagRequestLength = 56
	diagAnswerLength  = 72
	diagState         = 1
	diagUID           = 64
	diagInode         = 68
	tcpEstablished    = 1
)

var errNoOwner = errors.New("no user of this host has the other end now")

// of returns the user's ID. A connection whose other end is closed already
// has no owner: the kernel would say 0 for it.
func (o *owners) of(c net.Conn) (uid uint32, err error) {
	local, remote := addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	if !local.IsValid() || !remote.IsValid() {
		return 0, errNoOwner
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn == nil {
		if o.conn, err = netlink.Dial(unix.NETLINK_SOCK_DIAG, nil); err != nil {
			return 0, err
		}
	}
	answers, err := o.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request},
		Data:   diagRequest(remote, local), // from the other end, we are the destination
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, errNoOwner
	case err != nil:
		o.conn.Close() // out of step, perhaps
		o.conn = nil
		return 0, err
	case len(answers) != 1 || len(answers[0].Data) < diagAnswerLength:
		return 0, errNoOwner
	}
	b := answers[0].Data
	if b[diagState] != tcpEstablished || binary.NativeEndian.Uint32(b[diagInode:]) == 0 {
		return 0, errNoOwner
	}
	return binary.NativeEndian.Uint32(b[diagUID:]), nil
}

func (o *owners) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != nil {
		o.conn.Close()
		o.conn = nil
	}
}

// diagRequest is a struct inet_diag_req_v2 that asks for one connection.
func diagRequest(from, to netip.AddrPort) []byte {
	b := make([]byte, diagRequestLength)
	b[0], b[1] = unix.AF_INET, unix.IPPROTO_TCP
	if from.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0)) // in any state
	binary.BigEndian.PutUint16(b[8:], from.Port())
	binary.BigEndian.PutUint16(b[10:], to.Port())
	copy(b[12:28], from.Addr().AsSlice())
	copy(b[28:44], to.Addr().AsSlice())
	binary.NativeEndian.PutUint64(b[48:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return b
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}
