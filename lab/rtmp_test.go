package lab

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func reading(b []byte) *rtmp {
	return &rtmp{in: bufio.NewReader(bytes.NewReader(b)), conn: discard{}, chunk: 128, chunks: map[uint32]*message{}, left: map[uint32]int{}}
}

type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }

type sink struct {
	net.Conn
	wrote []byte
}

func (s *sink) Write(b []byte) (int, error) { s.wrote = append(s.wrote, b...); return len(b), nil }

// What is written is read, also in several chunks and at a time that needs
// the long form.
func TestMessages(t *testing.T) {
	out := &sink{}
	w := &rtmp{conn: out}
	sent := []message{
		{kind: rtmpChunkSize, body: []byte{0, 1, 0, 0}}, // 64 KB, as w writes
		{kind: rtmpVideo, stream: 1, timestamp: 40, body: bytes.Repeat([]byte{7}, 3*rtmpOurChunk+5)},
		{kind: rtmpCommand, timestamp: 0x1ffffff, body: appendAMF(nil, "onStatus")},
		{kind: rtmpVideo, stream: 1, timestamp: 80, body: []byte{9}},
	}
	for _, m := range sent {
		if err := w.write(m); err != nil {
			t.Fatal(err)
		}
	}
	r := reading(out.wrote)
	for _, want := range sent[1:] {
		m, err := r.next()
		if err != nil || m.kind != want.kind || m.timestamp != want.timestamp || m.stream != want.stream || !bytes.Equal(m.body, want.body) {
			t.Errorf("read %d bytes of kind %d at %d, %v", len(m.body), m.kind, m.timestamp, err)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

// Whatever a server sends, reading ends, and takes little memory.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Add([]byte{0x06, 0xff, 0xff, 0xff, 0, 0, 1, 9, 1, 0, 0, 0, 1, 0, 0, 0, 5, 0xc6, 1, 0, 0, 0, 5})
	f.Add([]byte{0x00, 9, 0, 0, 0, 0xff, 0xff, 0xff, 9, 0, 0, 0, 0})
	f.Add(append([]byte{0x03, 0, 0, 0, 0, 0, 11, 20, 0, 0, 0, 0}, appendAMF(nil, "onStatus")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reading(b)
		for {
			m, err := r.next()
			if err != nil {
				return
			}
			name, rest := amfString(m.body)
			_, _ = amfNumber(rest)
			_, _ = lastNumber(rest)
			if len(name) > len(m.body) {
				t.Error("a name longer than its message")
			}
		}
	})
}

// A server that says nothing is given up on.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := newRTMP(ctx, ours, "live"); err == nil {
			t.Error("it was taken for a server")
		}
		theirs.Close()
	})
}
