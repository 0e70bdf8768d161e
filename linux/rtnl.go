package linux

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tcmsg is the head of every message about qdiscs, classes and filters
// (include/uapi/linux/rtnetlink.h).
type tcmsg struct {
	ifindex int
	handle  uint32
	parent  uint32
	info    uint32
}

const sizeofTcmsg = 20

func (m tcmsg) encode(attrs []byte) []byte {
	b := make([]byte, sizeofTcmsg, sizeofTcmsg+len(attrs))
	binary.NativeEndian.PutUint32(b[4:], uint32(m.ifindex))
	binary.NativeEndian.PutUint32(b[8:], m.handle)
	binary.NativeEndian.PutUint32(b[12:], m.parent)
	binary.NativeEndian.PutUint32(b[16:], m.info)
	return append(b, attrs...)
}

func decodeTcmsg(b []byte) (tcmsg, []byte, error) {
	if len(b) < sizeofTcmsg {
		return tcmsg{}, nil, fmt.Errorf("a tc message of %d bytes", len(b))
	}
	return tcmsg{
		ifindex: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		handle:  binary.NativeEndian.Uint32(b[8:]),
		parent:  binary.NativeEndian.Uint32(b[12:]),
		info:    binary.NativeEndian.Uint32(b[16:]),
	}, b[sizeofTcmsg:], nil
}

// rtnl is a connection to the kernel's route netlink, in the network
// namespace of the thread that dialled.
type rtnl struct{ conn *netlink.Conn }

func dialRtnl() (*rtnl, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("opening route netlink: %w", err)
	}
	// Both only improve what errors and dumps say; old kernels lack them.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	return &rtnl{conn}, nil
}

func (r *rtnl) close() { r.conn.Close() }

// write sends one message and waits for the kernel's word. what names the
// attempt for the error.
func (r *rtnl) write(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, m tcmsg, fill func(*netlink.AttributeEncoder)) error {
	attrs, err := attributes(fill)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	_, err = r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   m.encode(attrs),
	})
	return explain(what, err)
}

// read asks for objects: all that the head names with the flag Dump, else one.
func (r *rtnl) read(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, m tcmsg, each func(tcmsg, *netlink.AttributeDecoder) error) error {
	answers, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
		Data:   m.encode(nil),
	})
	if err != nil {
		return explain(what, err)
	}
	for _, a := range answers {
		head, rest, err := decodeTcmsg(a.Data)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		attrs, err := netlink.NewAttributeDecoder(rest)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := each(head, attrs); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func attributes(fill func(*netlink.AttributeEncoder)) ([]byte, error) {
	if fill == nil {
		return nil, nil
	}
	enc := netlink.NewAttributeEncoder()
	fill(enc)
	return enc.Encode()
}

// explain puts what was tried and what the kernel said about it into one error.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var op *netlink.OpError
	if errors.As(err, &op) {
		if op.Message != "" {
			return fmt.Errorf("%s: %w (%s)", what, op.Err, op.Message)
		}
		return fmt.Errorf("%s: %w", what, op.Err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// absent says whether the kernel answered that the object is not there.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}
