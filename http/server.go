package http

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice"
)

// Limits on what any client may cost.
const (
	maxBody     = 256 << 10 // room for control.MostAtOnce changes
	maxBackup   = 512 << 20 // more than a store may hold
	maxHeader   = 16 << 10
	headerTime  = 5 * time.Second  // to send a request's header
	requestTime = 10 * time.Second // to send all of it
	answerTime  = 30 * time.Second // to make an answer and take it
	idleTime    = 30 * time.Second // for the next request of a connection
	stopTime    = 5 * time.Second  // for requests under way when stopping
)

// Server is the API. Its fields are set before [Server.Serve] and not after.
type Server struct {
	Control Control
	Monitor Monitor
	Doctor  Doctor
	Page    fs.FS  // the page's files, index.html among them
	Token   string // what writing over TCP needs, see [Token]; "" refuses it until [Server.UseToken]
	State   State  // nil: it is neither backed up nor restored
	Log     *slog.Logger

	later  atomic.Pointer[string] // the token, if it came later
	doors  []*Door                // set by Serve
	lane   lane
	signed signatures
	nss    nss
	probes recent[[]sluice.Finding]
}

// UseToken says what writing over TCP needs from now on.
func (s *Server) UseToken(token string) { s.later.Store(&token) }

func (s *Server) token() string {
	if later := s.later.Load(); later != nil {
		return *later
	}
	return s.Token
}

// Serve answers at the doors until ctx ends, then lets requests under way
// finish, and returns nil; or the error that ended a door.
func (s *Server) Serve(ctx context.Context, doors ...*Door) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.doors = doors
	live := newEvents(s.Control, s.Monitor)
	live.lane = &s.lane
	meters := newMeters(s.Monitor)
	handler, err := s.handler(live, meters)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		BaseContext:       atDoor,
		ConnContext:       withPeer,
		ConnState:         follow,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	var tasks sync.WaitGroup
	tasks.Go(func() { live.run(ctx, meters) })
	failed := make(chan error, len(doors))
	for _, d := range doors {
		tasks.Go(func() { failed <- server.Serve(d) })
		tasks.Go(func() { s.tell(ctx, d) })
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop() // the event streams end first; they would hold up Shutdown
	last, done := context.WithTimeout(context.Background(), stopTime)
	defer done()
	if server.Shutdown(last) != nil {
		server.Close()
	}
	tasks.Wait()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tell logs where the page is, and what keeps a door from opening.
func (s *Server) tell(ctx context.Context, d *Door) {
	if d.unix {
		return
	}
	if err := d.Problem(); err != nil {
		s.Log.Warn("the page is not open; all else goes on, and it is tried again every "+openAgain.String(), "url", d.URL(), "error", err)
		select {
		case <-ctx.Done():
			return
		case <-d.late.opened:
		}
	}
	s.Log.Info("the page is open", "url", d.URL())
}

// handler is all routes, each behind its access rule.
func (s *Server) handler(live *events, meters *meters) (http.Handler, error) {
	mux := http.NewServeMux()
	routes, err := s.routes(live, meters)
	if err != nil {
		return nil, err
	}
	for _, rt := range routes {
		mux.Handle(strings.TrimSpace(rt.method+" "+rt.pattern), s.guard(rt, meters))
	}
	return mux, nil
}

// guard lets only those pass who may, and turns answers and errors into JSON.
func (s *Server) guard(rt route, meters *meters) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		by, err := s.admit(rt.access, r)
		if err != nil {
			fail(w, err)
			return
		}
		if rt.stream != nil {
			rt.stream(w, r)
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		answer, leave, err := s.answer(rt, r, by)
		defer leave()
		if err != nil {
			if rt.access == writing {
				meters.refused(err)
			}
			s.Log.Debug("request failed", "method", r.Method, "path", r.URL.Path, "by", by, "err", err)
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(answer)
	})
}

// answer makes a route's answer whole, before any of it is written. What
// others than root read is made one at a time; leave is called when it is written.
func (s *Server) answer(rt route, r *http.Request, by string) (text []byte, leave func(), err error) {
	leave = func() {}
	p, _ := r.Context().Value(passKey{}).(pass)
	if rt.access != writing && !p.trusted() {
		if leave, err = p.client.begin(r.Context()); err != nil {
			return nil, leave, err
		}
		done, err := s.lane.enter(r.Context())
		if err != nil {
			return nil, leave, err
		}
		defer done()
	}
	value, err := rt.answer(r, by)
	if err != nil {
		return nil, leave, err
	}
	text, err = json.Marshal(value)
	return append(text, '\n'), leave, err
}

// secure sets what every answer carries, so that nothing of this host runs,
// is framed or is read anywhere but on its own page.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
		"img-src 'self' data:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
