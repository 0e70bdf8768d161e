package lab

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
)

// The part of RTMP that publishing and playing need ("Adobe's Real Time
// Messaging Protocol" 1.0, sections 5 to 7). What a message is:
const (
	rtmpChunkSize   = 1
	rtmpAck         = 3
	rtmpUserControl = 4
	rtmpWindow      = 5
	rtmpVideo       = 9
	rtmpCommand     = 20
)

const (
	rtmpMaxMessage = 4 << 20 // bytes; whoever announces more is not a server of ours
	rtmpOurChunk   = 64 << 10
)

// message is one message of RTMP, put together from its chunks.
type message struct {
	kind      byte
	stream    uint32
	timestamp uint32 // ms
	body      []byte
}

// rtmp is a connection to a streaming server. One goroutine reads, one writes.
type rtmp struct {
	conn   net.Conn
	in     *bufio.Reader
	chunk  int                 // the size of the server's chunks
	chunks map[uint32]*message // a message in the making for each chunk stream
	left   map[uint32]int      // bytes that it still lacks
	read   uint32              // bytes, as the server counts them
	acked  uint32
	window uint32 // bytes after which the server wants to hear from us
	stream uint32
}

// newRTMP shakes hands on conn and opens a stream of the application. It owns
// conn when it returns no error.
func newRTMP(ctx context.Context, conn net.Conn, app string) (*rtmp, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r := &rtmp{conn: conn, in: bufio.NewReaderSize(conn, 64<<10), chunk: 128, chunks: map[uint32]*message{}, left: map[uint32]int{}}
	hello := make([]byte, 1+1536)
	hello[0] = 3
	_, _ = rand.Read(hello[9:])
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	theirs := make([]byte, 1+1536+1536)
	if _, err := io.ReadFull(r.in, theirs); err != nil {
		return nil, err
	}
	if theirs[0] != 3 {
		return nil, fmt.Errorf("the server speaks version %d of RTMP, not 3", theirs[0])
	}
	if _, err := conn.Write(theirs[1:1537]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.AppendUint32(nil, rtmpOurChunk)
	if err := r.write(message{kind: rtmpChunkSize, body: size}); err != nil {
		return nil, err
	}
	if _, err := r.call("connect", 1, amfObject{{"app", app}, {"type", "nonprivate"}, {"tcUrl", "rtmp://" + conn.RemoteAddr().String() + "/" + app}}); err != nil {
		return nil, err
	}
	answer, err := r.call("createStream", 2, nil)
	if err != nil {
		return nil, err
	}
	id, ok := lastNumber(answer)
	if !ok || id < 1 || id > math.MaxUint32 {
		return nil, errors.New("the server opened no stream")
	}
	r.stream = uint32(id)
	return r, nil
}

// call sends a command and waits for its result.
func (r *rtmp) call(name string, id float64, args ...any) ([]byte, error) {
	if err := r.command(0, name, id, args...); err != nil {
		return nil, err
	}
	for {
		m, err := r.next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if m.kind != rtmpCommand {
			continue
		}
		switch answer, rest := amfString(m.body); answer {
		case "_result":
			if got, ok := amfNumber(rest); ok && got == id {
				return rest, nil
			}
		case "_error":
			return nil, fmt.Errorf("%s was refused", name)
		}
	}
}

// begin publishes or plays and waits until the server says that it began.
func (r *rtmp) begin(verb string, args ...any) error {
	if err := r.command(r.stream, verb, 0, append([]any{nil}, args...)...); err != nil {
		return err
	}
	for {
		m, err := r.next()
		if err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		if m.kind == rtmpCommand {
			if name, _ := amfString(m.body); name == "onStatus" {
				return nil
			}
		}
		if m.kind == rtmpVideo {
			return nil
		}
	}
}

func (r *rtmp) command(stream uint32, name string, id float64, args ...any) error {
	body := appendAMF(appendAMF(nil, name), id)
	for _, a := range args {
		body = appendAMF(body, a)
	}
	return r.write(message{kind: rtmpCommand, stream: stream, body: body})
}

// write sends m in chunks (section 5.3.1).
func (r *rtmp) write(m message) error {
	channel := byte(3)
	switch m.kind {
	case rtmpChunkSize, rtmpAck, rtmpUserControl, rtmpWindow:
		channel = 2
	case rtmpVideo:
		channel = 6
	}
	stamp := min(m.timestamp, 0xffffff)
	b := []byte{channel, byte(stamp >> 16), byte(stamp >> 8), byte(stamp), byte(len(m.body) >> 16), byte(len(m.body) >> 8), byte(len(m.body)), m.kind}
	b = binary.LittleEndian.AppendUint32(b, m.stream)
	var late []byte
	if stamp == 0xffffff {
		late = binary.BigEndian.AppendUint32(nil, m.timestamp)
	}
	b = append(b, late...)
	for body := m.body; ; {
		n := min(len(body), rtmpOurChunk)
		b = append(b, body[:n]...)
		if body = body[n:]; len(body) == 0 {
			break
		}
		b = append(append(b, 0xc0|channel), late...)
	}
	_, err := r.conn.Write(b)
	return err
}

// next returns the next message that is not the protocol's own business.
func (r *rtmp) next() (message, error) {
	for {
		m, err := r.readChunk()
		if err != nil {
			return message{}, err
		}
		if r.window > 0 && r.read-r.acked >= r.window/2 {
			r.acked = r.read
			if err := r.write(message{kind: rtmpAck, body: binary.BigEndian.AppendUint32(nil, r.read)}); err != nil {
				return message{}, err
			}
		}
		if m == nil {
			continue
		}
		switch {
		case m.kind == rtmpChunkSize && len(m.body) >= 4:
			size := binary.BigEndian.Uint32(m.body)
			if size < 1 || size > rtmpMaxMessage {
				return message{}, fmt.Errorf("the server wants chunks of %d bytes", size)
			}
			r.chunk = int(size)
		case m.kind == rtmpWindow && len(m.body) >= 4:
			r.window = binary.BigEndian.Uint32(m.body)
		case m.kind == rtmpUserControl && len(m.body) >= 6 && m.body[1] == 6: // a ping
			pong := slices.Clone(m.body[:6])
			pong[1] = 7
			if err := r.write(message{kind: rtmpUserControl, body: pong}); err != nil {
				return message{}, err
			}
		case m.kind == rtmpVideo || m.kind == rtmpCommand:
			return *m, nil
		}
	}
}

// readChunk reads one chunk, and returns the message that it completes, if any.
func (r *rtmp) readChunk() (*message, error) {
	first, err := r.take(1)
	if err != nil {
		return nil, err
	}
	format, id := first[0]>>6, uint32(first[0]&0x3f)
	if id < 2 { // an id of 64 or more follows in one byte or two
		b, err := r.take(int(id) + 1)
		if err != nil {
			return nil, err
		}
		if id, b = 64+uint32(b[0]), b[1:]; len(b) > 0 {
			id += 256 * uint32(b[0])
		}
	}
	m := r.chunks[id]
	if m == nil {
		if format != 0 || len(r.chunks) >= 64 {
			return nil, errors.New("the server sends chunks of a message that never began")
		}
		m = &message{}
		r.chunks[id] = m
	}
	head, err := r.take([]int{11, 7, 3, 0}[format])
	if err != nil {
		return nil, err
	}
	if format < 3 {
		stamp := uint32(head[0])<<16 | uint32(head[1])<<8 | uint32(head[2])
		if stamp == 0xffffff {
			b, err := r.take(4)
			if err != nil {
				return nil, err
			}
			stamp = binary.BigEndian.Uint32(b)
		}
		if format == 0 {
			m.timestamp, m.stream = stamp, binary.LittleEndian.Uint32(head[7:])
		} else {
			m.timestamp += stamp
		}
	}
	if format < 2 {
		size := int(head[3])<<16 | int(head[4])<<8 | int(head[5])
		if size > rtmpMaxMessage {
			return nil, fmt.Errorf("the server sends a message of %d bytes", size)
		}
		m.kind, m.body, r.left[id] = head[6], make([]byte, 0, size), size
	} else if r.left[id] == 0 { // the next message, as long as the last
		r.left[id] = cap(m.body)
		m.body = make([]byte, 0, cap(m.body))
	}
	part, err := r.take(min(r.left[id], r.chunk))
	if err != nil {
		return nil, err
	}
	m.body = append(m.body, part...)
	if r.left[id] -= len(part); r.left[id] > 0 {
		return nil, nil
	}
	return m, nil
}

// take reads n bytes.
func (r *rtmp) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r.in, b)
	r.read += uint32(n)
	return b, err
}
