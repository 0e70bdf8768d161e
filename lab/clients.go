package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/jlaffaye/ftp"
)

// How much the users want: more than the link carries.
const (
	downloads   = 4
	visitors    = 8
	players     = 2
	framesASec  = 25
	frameBytes  = 40_000 // 8 Mbit/s
	retryAfter  = time.Second
	patience    = 20 * time.Second // for a server to answer
	frameHeader = 5 + 8 + 8        // FLV's, the frame's number, and when it was published
)

// clients are the users of the three services.
type clients struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	meter *meter
	log   func(format string, args ...any)
}

// keep calls f again and again until ctx ends.
func (c *clients) keep(ctx context.Context, what string, f func(context.Context) error) {
	for ctx.Err() == nil {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			c.log("%s: %v; again in %s", what, err, retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// download downloads one file over and over, in one session.
func (c *clients) download(ctx context.Context, address string) error {
	dial := func(network, address string) (net.Conn, error) {
		conn, err := c.dial(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	session, err := ftp.Dial(address, ftp.DialWithDialFunc(dial))
	if err != nil {
		return err
	}
	ended := c.meter.connected(&c.meter.ftp)
	defer func() { ended(ctx.Err() != nil) }()
	defer session.Quit()
	if err := session.Login("anonymous", "lab@sluice"); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		file, err := session.Retr("disk.iso")
		if err != nil {
			return err
		}
		for {
			n, err := file.Read(buf)
			c.meter.count(func(s *second) { s.ftp += int64(n) })
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
}

// visit asks for the web site's page, again as soon as it has it, over one
// connection.
func (c *clients) visit(ctx context.Context, url string) error {
	var ended func(asked bool)
	defer func() {
		if ended != nil {
			ended(ctx.Err() != nil)
		}
	}()
	transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if ended != nil {
			return nil, fmt.Errorf("the server closed the connection")
		}
		conn, err := c.dial(ctx, network, address)
		if err == nil {
			ended = c.meter.connected(&c.meter.web)
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	for {
		begin := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(req)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, answer.Status)
		}
		took := time.Since(begin)
		c.meter.count(func(s *second) { s.web += n; s.latencies = append(s.latencies, took) })
	}
}

// stream connects to the streaming server.
func (c *clients) stream(ctx context.Context, address string) (*rtmp, error) {
	conn, err := c.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	hello, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := newRTMP(hello, conn, "live")
	if err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

// publish sends a video to the streaming server: frames of one size at an even
// pace, each with its number and the time.
func (c *clients) publish(ctx context.Context, address string) error {
	r, err := c.stream(ctx, address)
	if err != nil {
		return err
	}
	ended := c.meter.connected(&c.meter.stream)
	defer func() { ended(ctx.Err() != nil) }()
	defer r.conn.Close()
	if err := r.begin("publish", "show", "live"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // pings are answered, and the end is noticed
		for {
			if _, err := r.next(); err != nil {
				cancel(err)
				return
			}
		}
	}()
	begin := time.Now()
	tick := time.NewTicker(time.Second / framesASec)
	defer tick.Stop()
	frame := make([]byte, frameBytes)
	for number := uint64(1); ; number++ {
		copy(frame, []byte{0x27, 1, 0, 0, 0}) // FLV: a frame of H.264 that needs others
		if number%framesASec == 1 {
			frame[0] = 0x17 // one that does not
		}
		binary.BigEndian.PutUint64(frame[5:], number)
		now := time.Now()
		binary.BigEndian.PutUint64(frame[13:], uint64(now.UnixNano()))
		if err := r.conn.SetWriteDeadline(now.Add(patience)); err != nil {
			return err
		}
		if err := r.write(message{kind: rtmpVideo, stream: r.stream, timestamp: uint32(now.Sub(begin).Milliseconds()), body: frame}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// play plays it.
func (c *clients) play(ctx context.Context, address string) error {
	r, err := c.stream(ctx, address)
	if err != nil {
		return err
	}
	ended := c.meter.connected(&c.meter.stream)
	defer func() { ended(ctx.Err() != nil) }()
	defer r.conn.Close()
	defer context.AfterFunc(ctx, func() { r.conn.Close() })()
	if err := r.begin("play", "show"); err != nil {
		return err
	}
	var last uint64
	for {
		if err := r.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		m, err := r.next()
		if err != nil {
			return err
		}
		if m.kind != rtmpVideo || len(m.body) < frameHeader {
			continue
		}
		number := binary.BigEndian.Uint64(m.body[5:])
		age := time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(m.body[13:]))))
		lost := 0
		if last > 0 && number > last && number-last < 1000 {
			lost = int(number - last - 1)
		}
		last = number
		c.meter.count(func(s *second) {
			s.stream += int64(len(m.body))
			s.frames++
			s.lost += lost
			if age > lateAfter {
				s.late++
			}
		})
	}
}
