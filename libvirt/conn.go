package libvirt

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

const (
	// mostPacket is libvirt's own limit (src/rpc/virnetprotocol.x,
	// VIR_NET_MESSAGE_MAX), in bytes.
	mostPacket = 32 << 20
	// leastPacket is a length and a header (virNetMessageHeader), in bytes.
	leastPacket = 28
)

// framed is a connection whose packets have lengths that a client can take:
// the library trusts them.
type framed struct {
	net.Conn
	head []byte // of the packet, what is not yet handed on
	left int    // bytes of it that are still to come
}

// Read implements [net.Conn].
func (f *framed) Read(p []byte) (int, error) {
	if len(f.head) == 0 && f.left == 0 {
		var length [4]byte
		if _, err := io.ReadFull(f.Conn, length[:]); err != nil {
			return 0, err
		}
		n := binary.BigEndian.Uint32(length[:])
		if n < leastPacket || n > mostPacket {
			return 0, fmt.Errorf("a packet of %d bytes is none of libvirt's", n)
		}
		f.head, f.left = length[:], int(n)-len(length)
	}
	if len(f.head) > 0 {
		n := copy(p, f.head)
		f.head = f.head[n:]
		return n, nil
	}
	n, err := f.Conn.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}
