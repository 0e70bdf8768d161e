package lab

import (
	"slices"
	"sync"
	"time"
)

const (
	remembered = 3 * time.Minute        // of which a report can be made
	lateAfter  = 200 * time.Millisecond // what a player buffers: a frame later than that is missed
)

// Report is what the users of the three services had in the last seconds.
type Report struct {
	Seconds float64      `json:"seconds"`
	FTP     FTPReport    `json:"ftp"`
	Stream  StreamReport `json:"stream"`
	Web     WebReport    `json:"web"`
}

// Connections are those of one service since its clients began.
type Connections struct {
	Open   int `json:"open"`
	Broken int `json:"broken"` // ended, though nobody asked them to
}

// FTPReport is of the downloads.
type FTPReport struct {
	Rate float64 `json:"rate"` // bit/s of payload
	Connections
}

// StreamReport is of the players.
type StreamReport struct {
	Rate   float64 `json:"rate"`   // bit/s of payload
	Frames int     `json:"frames"` // that arrived
	Late   int     `json:"late"`   // of these, more than 200 ms after they were published
	Lost   int     `json:"lost"`   // that the server left out
	Connections
}

// WebReport is of the visitors of the web site.
type WebReport struct {
	Rate     float64 `json:"rate"`     // bit/s of payload
	Requests float64 `json:"requests"` // a second
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Connections
}

// second is what was counted in one second.
type second struct {
	at                 int64 // Unix time
	ftp, stream, web   int64 // bytes
	frames, late, lost int
	latencies          []time.Duration
}

// meter counts what the clients receive, by the second.
type meter struct {
	mu               sync.Mutex
	seconds          []second // oldest first
	ftp, stream, web Connections
}

// count changes the present second.
func (m *meter) count(change func(*second)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().Unix()
	if n := len(m.seconds); n == 0 || m.seconds[n-1].at != now {
		old := now - int64(remembered.Seconds())
		m.seconds = slices.DeleteFunc(m.seconds, func(s second) bool { return s.at < old })
		m.seconds = append(m.seconds, second{at: now})
	}
	change(&m.seconds[len(m.seconds)-1])
}

// connected counts a connection that was made, and returns what counts its
// end; asked says that the client itself ended it.
func (m *meter) connected(c *Connections) (ended func(asked bool)) {
	m.mu.Lock()
	c.Open++
	m.mu.Unlock()
	return func(asked bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		c.Open--
		if !asked {
			c.Broken++
		}
	}
}

// report sums the last n whole seconds.
func (m *meter) report(n int) Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().Unix()
	r := Report{Seconds: float64(n)}
	var bytes second
	for _, s := range m.seconds {
		if s.at >= now || s.at < now-int64(n) {
			continue
		}
		bytes.ftp += s.ftp
		bytes.stream += s.stream
		bytes.web += s.web
		r.Stream.Frames += s.frames
		r.Stream.Late += s.late
		r.Stream.Lost += s.lost
		bytes.latencies = append(bytes.latencies, s.latencies...)
	}
	rate := func(bytes int64) float64 { return float64(bytes) * 8 / r.Seconds }
	r.FTP.Rate, r.Stream.Rate, r.Web.Rate = rate(bytes.ftp), rate(bytes.stream), rate(bytes.web)
	r.FTP.Connections, r.Stream.Connections, r.Web.Connections = m.ftp, m.stream, m.web
	if all := bytes.latencies; len(all) > 0 {
		slices.Sort(all)
		at := func(p float64) float64 { return all[int(p*float64(len(all)-1))].Seconds() * 1000 }
		r.Web.Requests, r.Web.P50, r.Web.P99 = float64(len(all))/r.Seconds, at(0.5), at(0.99)
	}
	return r
}
