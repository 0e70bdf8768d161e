package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn is a connection to the kernel's route netlink, in the network
// namespace of the thread that dialled. It is safe for concurrent use.
type Conn struct {
	nl     *netlink.Conn
	gather *[]pending // what Together has gathered; nil outside of it
}

// pending is a message that waits for others to be sent with.
type pending struct {
	what    string
	message netlink.Message
}

// Dial opens a connection.
func Dial() (*Conn, error) {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("opening route netlink: %w", err)
	}
	// Both only improve what errors and dumps say; old kernels lack them.
	_ = nl.SetOption(netlink.ExtendedAcknowledge, true)
	_ = nl.SetOption(netlink.GetStrictCheck, true)
	return &Conn{nl: nl}, nil
}

// Close gives the connection up.
func (c *Conn) Close() error { return c.nl.Close() }

// PID is what the kernel's announcements call this connection.
func (c *Conn) PID() uint32 { return c.nl.PID() }

// message is struct tcmsg, the head of every message about a qdisc, a class
// or a filter.
type message struct {
	Ifindex int
	Handle  uint32
	Parent  uint32
	Info    uint32
}

const sizeofMessage = 20

func (m message) encode(attrs []byte) []byte {
	b := make([]byte, sizeofMessage, sizeofMessage+len(attrs))
	binary.NativeEndian.PutUint32(b[4:], uint32(m.Ifindex))
	binary.NativeEndian.PutUint32(b[8:], m.Handle)
	binary.NativeEndian.PutUint32(b[12:], m.Parent)
	binary.NativeEndian.PutUint32(b[16:], m.Info)
	return append(b, attrs...)
}

func decodeMessage(b []byte) (message, []byte, error) {
	if len(b) < sizeofMessage {
		return message{}, nil, fmt.Errorf("a tc message of %d bytes", len(b))
	}
	return message{
		Ifindex: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Handle:  binary.NativeEndian.Uint32(b[8:]),
		Parent:  binary.NativeEndian.Uint32(b[12:]),
		Info:    binary.NativeEndian.Uint32(b[16:]),
	}, b[sizeofMessage:], nil
}

// write sends one message and waits for the kernel's word. what names the
// attempt for the error.
func (c *Conn) write(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, data []byte, err error) error {
	m := netlink.Message{Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | flags}, Data: data}
	switch {
	case err != nil:
	case c.gather != nil:
		*c.gather = append(*c.gather, pending{what, m})
	default:
		_, err = c.execute(m)
	}
	return explain(what, err)
}

// Together calls write for each i below n and sends all that it writes at once:
// a write in it returns nil, and must read nothing. The kernel carries the
// messages out in order. The errors are those of each i. Nobody else may use
// the connection meanwhile.
func (c *Conn) Together(n int, write func(i int) error) []error {
	var all []pending
	var of []int // whose each message is
	errs := make([]error, n)
	c.gather = &all
	for i := range n {
		errs[i] = write(i)
		for len(of) < len(all) {
			of = append(of, i)
		}
	}
	c.gather = nil
	const most = 32 // acknowledgements that surely fit the socket's buffer, with what they quote
	for at := 0; at < len(all); at += most {
		chunk := all[at:min(at+most, len(all))]
		messages := make([]netlink.Message, len(chunk))
		for k, p := range chunk {
			messages[k] = p.message
		}
		_ = c.nl.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.nl.SendMessages(messages); err != nil {
			for k := range all[at:] {
				errs[of[at+k]] = explain(all[at+k].what, err)
			}
			return errs
		}
		for k, p := range chunk {
			if _, err := c.nl.Receive(); err != nil && errs[of[at+k]] == nil {
				errs[of[at+k]] = explain(p.what, err)
			}
		}
	}
	return errs
}

// read asks for objects about qdiscs, classes or filters: all that the head
// names with the flag Dump, else one.
func (c *Conn) read(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, m message, each func(message, *netlink.AttributeDecoder) error) error {
	answers, err := c.execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
		Data:   m.encode(nil),
	})
	for i := 0; err == nil && i < len(answers); i++ {
		err = decode(answers[i].Data, each)
	}
	return explain(what, err)
}

// patience is how long the kernel is waited for. It answers in microseconds,
// or after whoever else holds its lock for network devices.
const patience = 10 * time.Second

// execute sends one message and returns the answers.
func (c *Conn) execute(m netlink.Message) ([]netlink.Message, error) {
	if err := c.nl.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return c.nl.Execute(m)
}

func decode(data []byte, each func(message, *netlink.AttributeDecoder) error) error {
	head, rest, err := decodeMessage(data)
	if err != nil {
		return err
	}
	attrs, err := netlink.NewAttributeDecoder(rest)
	if err != nil {
		return err
	}
	return each(head, attrs)
}

// object is a message with its attributes.
func object(m message, fill func(*netlink.AttributeEncoder)) ([]byte, error) {
	enc := netlink.NewAttributeEncoder()
	if fill != nil {
		fill(enc)
	}
	attrs, err := enc.Encode()
	return m.encode(attrs), err
}

// explain puts what was tried and what the kernel said about it into one error.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var op *netlink.OpError
	if errors.As(err, &op) {
		err = op.Err
		if op.Message != "" {
			return fmt.Errorf("%s: %w (%s)", what, err, op.Message)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Absent says whether the kernel answered that an object, or what it is on,
// is not there.
func Absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}
