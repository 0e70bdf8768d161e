package guest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"sluice"
)

const maxSkipped = 2 * maxAnswer // bytes of others' answers before our own

// hostPort is the host's end of a virtio-serial port: QEMU's Unix socket. The
// connection stays open between pulls, as QEMU serves one at a time and tells
// the VM of each that comes and goes.
type hostPort struct {
	path string

	mu    sync.Mutex // guards what follows against the timer; pulls take turns anyway
	conn  net.Conn
	lines *bufio.Reader
	timer *time.Timer // hangs up when nobody pulls
}

// take returns the connection, for the caller alone, and whether it was used before.
func (h *hostPort) take(ctx context.Context) (conn net.Conn, lines *bufio.Reader, used bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.conn != nil {
		conn, lines, h.conn, h.lines = h.conn, h.lines, nil, nil
		return conn, lines, true, nil
	}
	if conn, err = new(net.Dialer).DialContext(ctx, "unix", h.path); err != nil {
		return nil, nil, false, err
	}
	return conn, bufio.NewReaderSize(conn, 4<<10), false, nil
}

// put gives it back for the next pull.
func (h *hostPort) put(conn net.Conn, lines *bufio.Reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn, h.lines = conn, lines
	h.timer = time.AfterFunc(clientIdle, h.hangUp)
}

func (h *hostPort) hangUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.conn != nil {
		h.conn.Close()
		h.conn, h.lines = nil, nil
	}
}

func (h *hostPort) pull(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	conn, lines, used, err := h.take(ctx)
	if err != nil {
		return sluice.Samples{}, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	got, err := exchange(conn, lines, request{Nonce: rand.Text(), After: after, Limit: limit})
	if !stop() || err != nil { // too late, or out of step: the next begins anew
		conn.Close()
		if ctx.Err() != nil {
			return got, ctx.Err()
		}
		if used && (errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
			return h.pull(ctx, after, limit) // QEMU began anew since the last pull
		}
		return got, err
	}
	h.put(conn, lines)
	return got, nil
}

// exchange asks, and reads until the answer to this very question.
func exchange(conn net.Conn, lines *bufio.Reader, r request) (sluice.Samples, error) {
	var none sluice.Samples
	text, err := json.Marshal(r)
	if err != nil {
		return none, err
	}
	// The first line's end ends what another host may have left unfinished.
	text = append(append([]byte{'\n'}, text...), '\n')
	if _, err := conn.Write(text); err != nil {
		return none, err
	}
	for skipped := 0; skipped < maxSkipped; {
		line, err := readAnswer(lines)
		if err != nil {
			return none, err
		}
		skipped += len(line) + 1
		if got, ok, err := parseAnswer(line, r.Nonce, r.Limit); ok || err != nil {
			return got, err
		}
	}
	return none, errors.New("it says much, but not what was asked")
}

// readAnswer returns the next line without its end.
func readAnswer(lines *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := lines.ReadSlice('\n')
		if len(whole)+len(part) > maxAnswer {
			return nil, errLong
		}
		whole = append(whole, part...)
		if err == nil {
			return whole[:len(whole)-1], nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("in the middle of its answer: %w", err)
		}
	}
}
