package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"sluice"
)

// The bounds of who may ask over TCP, and for how long.
const (
	maxConns     = 16
	maxHeader    = 4 << 10
	answerTime   = 5 * time.Second
	idleTime     = time.Minute
	defaultLimit = 512
)

// NewServer returns the HTTP server of a collector:
//
//	GET /v1/samples?after=ID&limit=N   [sluice.Samples]
//	GET /v1/latest                     [sluice.Sample]
//
// Errors are [sluice.Error]. Let it serve a [Few] listener.
func NewServer(k *Keeper, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/samples", func(w http.ResponseWriter, r *http.Request) {
		after, limit, err := asked(r)
		if err != nil {
			reply(w, nil, err)
			return
		}
		got, err := k.Pull(r.Context(), after, limit)
		reply(w, got, err)
	})
	mux.HandleFunc("GET /v1/latest", func(w http.ResponseWriter, r *http.Request) {
		got, err := k.Latest(r.Context())
		reply(w, got, err)
	})
	return &http.Server{
		Handler:        mux,
		ReadTimeout:    answerTime,
		WriteTimeout:   answerTime,
		IdleTimeout:    idleTime,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// asked reads the query of a pull.
func asked(r *http.Request) (after uint64, limit int, err error) {
	limit = defaultLimit
	query := r.URL.Query()
	if text := query.Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("after=%.40q is not the ID of a sample", text), Try: "after=0"}
		}
	}
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > MaxLimit {
			return 0, 0, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("limit=%.40q is not a number of samples", text), Try: fmt.Sprintf("1 to %d", MaxLimit)}
		}
	}
	return after, limit, nil
}

func reply(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if err != nil {
		e := (*sluice.Error)(nil)
		if !errors.As(err, &e) {
			e = &sluice.Error{Code: sluice.Internal, Message: err.Error()}
		}
		answer = e
		switch e.Code {
		case sluice.Invalid:
			status = http.StatusBadRequest
		case sluice.NotFound:
			status = http.StatusNotFound
		default:
			status = http.StatusInternalServerError
		}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	w.Write(text)
}

// Few lets a few connections through at once and closes those beyond at once,
// so that nobody can make a collector large.
func Few(l net.Listener) net.Listener {
	return &few{l, make(chan struct{}, maxConns)}
}

type few struct {
	net.Listener
	places chan struct{}
}

func (f *few) Accept() (net.Conn, error) {
	for {
		conn, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.places <- struct{}{}:
			return &placed{Conn: conn, leave: sync.OnceFunc(func() { <-f.places })}, nil
		default:
			conn.Close()
		}
	}
}

type placed struct {
	net.Conn
	leave func()
}

func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
