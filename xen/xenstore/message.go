package xenstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Types of messages (xs_wire.h, enum xsd_sockmsg_type).
const (
	opDirectory        = 1
	opRead             = 2
	opGetPerms         = 3
	opWatch            = 4
	opUnwatch          = 5
	opTransactionStart = 6
	opTransactionEnd   = 7
	opGetDomainPath    = 10
	opWrite            = 11
	opMkdir            = 12
	opRemove           = 13
	opSetPerms         = 14
	opWatchEvent       = 15
	opError            = 16
	opDirectoryPart    = 22
)

const (
	headerSize = 16
	// maxAnswer is what we take. oxenstored answers a long list on its socket
	// beyond the protocol's limit; more than this means that the two sides have
	// lost each other.
	maxAnswer = 1 << 20
)

// message is one message of either direction. On the wire it is four 32-bit
// words in the machine's order (little-endian wherever Xen runs): type,
// request, transaction, length of the payload; then the payload.
type message struct {
	op      uint32
	request uint32 // the answer has the same
	tx      uint32 // 0 outside a transaction
	payload []byte
}

// append appends the message as it is on the wire.
func (m message) append(b []byte) []byte {
	for _, word := range [4]uint32{m.op, m.request, m.tx, uint32(len(m.payload))} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return append(b, m.payload...)
}

// readMessage reads one message.
func readMessage(r io.Reader) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return message{}, err
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(header[4*i:]) }
	m := message{op: word(0), request: word(1), tx: word(2)}
	size := word(3)
	if size > maxAnswer {
		return message{}, fmt.Errorf("a message of %d bytes", size)
	}
	if size <= MaxPayload {
		m.payload = make([]byte, size)
		_, err := io.ReadFull(r, m.payload)
		return m, err
	}
	// Only what really comes takes memory.
	var long bytes.Buffer
	_, err := io.CopyN(&long, r, int64(size))
	m.payload = long.Bytes()
	return m, err
}

// arguments are strings that each end with a byte of 0.
func arguments(all ...string) []byte {
	var b []byte
	for _, s := range all {
		b = append(append(b, s...), 0)
	}
	return b
}

// split is the reverse of arguments. The last 0 may be missing.
func split(payload []byte) []string {
	payload = bytes.TrimSuffix(payload, []byte{0})
	if len(payload) == 0 {
		return nil
	}
	parts := bytes.Split(payload, []byte{0})
	all := make([]string, len(parts))
	for i, part := range parts {
		all[i] = string(part)
	}
	return all
}

// first is the payload's first argument.
func first(payload []byte) string {
	head, _, _ := bytes.Cut(payload, []byte{0})
	return string(head)
}
