package guest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"sluice"
)

// link is a connection to one collector that stays open between pulls: QEMU
// serves one at a time at a virtio-serial port's socket, and tells the VM of
// each that comes and goes.
type link struct {
	network, address string
	exchange         func(w *wire, after uint64, limit int) (sluice.Samples, error)
	idle             time.Duration // after which an unused one is closed

	mu    sync.Mutex // guards what follows against the timer and hangUp
	wire  *wire      // nil while there is none or a pull has it
	timer *time.Timer
}

const (
	// pieceCost is what a read costs beside its bytes, in bytes: two
	// microseconds, in which a core parses so many. A VM may send an answer
	// byte by byte.
	pieceCost = 128
	// maxCost is what one answer may cost: three times maxAnswer and 40,000 pieces.
	maxCost = 8 << 20
)

var errPieces = errors.New("its answer comes in too many pieces")

// wire is an open connection. What may be read from it is counted down.
type wire struct {
	net.Conn
	limit io.LimitedReader
	lines *bufio.Reader // of limit
	cost  int           // of what was read since the last question, see [sluice.Samples]
}

// Read implements [io.Reader].
func (w *wire) Read(b []byte) (int, error) {
	if w.cost > maxCost {
		return 0, errPieces
	}
	n, err := w.Conn.Read(b)
	w.cost += n + pieceCost
	return n, err
}

// take returns the connection, for the caller alone, and whether it was used before.
func (l *link) take(ctx context.Context) (w *wire, used bool, err error) {
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
	}
	w, l.wire = l.wire, nil
	l.mu.Unlock()
	if w != nil {
		return w, true, nil
	}
	conn, err := new(net.Dialer).DialContext(ctx, l.network, l.address)
	if err != nil {
		return nil, false, err
	}
	w = &wire{Conn: conn}
	w.limit.R = w
	w.lines = bufio.NewReaderSize(&w.limit, 4<<10)
	return w, false, nil
}

// put gives it back for the next pull.
func (l *link) put(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire = w
	l.timer = time.AfterFunc(l.idle, l.hangUp)
}

// hangUp closes the connection unless a pull has it.
func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.wire != nil {
		l.wire.Close()
		l.wire = nil
	}
}

func (l *link) pull(ctx context.Context, after uint64, limit int) (sluice.Samples, error) {
	w, used, err := l.take(ctx)
	if err != nil {
		return sluice.Samples{}, err
	}
	stop := context.AfterFunc(ctx, func() { w.SetDeadline(time.Unix(1, 0)) })
	w.cost = 0
	got, err := l.exchange(w, after, limit)
	got.Cost = w.cost
	inTime := stop()
	if inTime && err == nil {
		l.put(w)
		return got, nil
	}
	w.Close() // out of step: the next begins anew
	switch {
	case !inTime:
		return got, ctx.Err()
	case used && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)):
		return l.pull(ctx, after, limit) // the other end has begun anew since the last pull
	}
	return got, err
}
