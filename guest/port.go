package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"sluice"
)

// A virtio-serial port is one stream of bytes without connections: neither
// side learns reliably that the other began anew, and what one left half read
// the next finds. So each request and each answer is one line of JSON, an
// empty line ends whatever came before, and an answer carries its request's
// nonce. Whoever is out of step drops a line and is in step again.

const maxRequest = 1 << 10 // bytes of a request's line

// request is what the host asks over the port.
type request struct {
	Nonce string `json:"nonce"` // at most 64 bytes
	After uint64 `json:"after"`
	Limit int    `json:"limit"`
}

// answer is what the VM says to it: samples, or why there are none.
type answer struct {
	Nonce   string          `json:"nonce"`
	Samples *sluice.Samples `json:"samples,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// portFile is an open port: an *os.File, or a socket in its place.
type portFile interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
}

// Port answers pulls on a virtio-serial port.
type Port struct {
	Path   string
	Keeper *Keeper
	Log    *slog.Logger
}

const (
	portAbsent = 5 * time.Second        // between looks for a port that is not there
	portQuiet  = 200 * time.Millisecond // between looks for a host that is not there
)

// Serve answers until ctx ends. A port that is not there may come later.
func (p *Port) Serve(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		wait := portAbsent
		file, err := os.OpenFile(p.Path, os.O_RDWR|syscall.O_NONBLOCK, 0)
		switch {
		case err == nil:
			if said != "open" {
				p.Log.Info("answering on the port", "port", p.Path)
			}
			said = "open"
			if err = p.answer(ctx, patient{ctx, file}); errors.Is(err, os.ErrDeadlineExceeded) {
				wait = 0 // a host that asked and did not listen
			}
		case errors.Is(err, fs.ErrNotExist):
			said = "absent"
		case said != err.Error():
			said = err.Error()
			p.Log.Warn("cannot answer on the port", "port", p.Path, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// patient is a port whose end is not the end: reading one says EOF while no
// host holds the other side (port_fops_read in drivers/char/virtio_console.c).
type patient struct {
	ctx context.Context
	*os.File
}

func (p patient) Read(b []byte) (int, error) {
	for {
		n, err := p.File.Read(b)
		if n > 0 || err != io.EOF {
			return n, err
		}
		select {
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		case <-time.After(portQuiet):
		}
	}
}

// answer reads requests from the port until it fails or ctx ends, and closes it.
func (p *Port) answer(ctx context.Context, port portFile) error {
	stop := context.AfterFunc(ctx, func() { port.Close() })
	defer func() {
		stop()
		port.Close()
	}()
	lines := bufio.NewReaderSize(port, maxRequest)
	for {
		line, err := readLine(lines)
		if err != nil {
			return err
		}
		var r request
		if json.Unmarshal(line, &r) != nil || r.Nonce == "" || len(r.Nonce) > 64 {
			continue // the rest of something that the host gave up
		}
		if r.Limit == 0 {
			r.Limit = defaultLimit
		}
		a := answer{Nonce: r.Nonce}
		timed, cancel := context.WithTimeout(ctx, answerTime)
		got, err := p.Keeper.Pull(timed, r.After, r.Limit)
		cancel()
		if a.Samples = &got; err != nil {
			a.Samples, a.Error = nil, err.Error()
		}
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		// In one piece with a line's end on either side: what an earlier answer
		// left unfinished is a line of its own then.
		text = append(append([]byte{'\n'}, text...), '\n')
		port.SetWriteDeadline(time.Now().Add(answerTime))
		if _, err := port.Write(text); err != nil {
			return err
		}
	}
}

// readLine returns the next line that fits the reader's buffer, without its
// end, and drops those that do not.
func readLine(r *bufio.Reader) ([]byte, error) {
	whole := true
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err == nil && whole:
			return bytes.TrimRight(line, "\r\n"), nil
		case err == nil:
			whole = true
		case errors.Is(err, bufio.ErrBufferFull):
			whole = false
		default:
			return nil, err
		}
	}
}
