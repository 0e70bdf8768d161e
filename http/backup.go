package http

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"sluice"
)

// backupTime is how long a backup may take to be made and sent, either way.
const backupTime = 2 * time.Minute

// backup is made whole before any of it is sent, so that what goes wrong is
// still told as an error.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	if s.State == nil {
		fail(w, noRoute(r))
		return
	}
	ctx, stop := context.WithTimeout(r.Context(), backupTime)
	defer stop()
	var b bytes.Buffer
	if err := s.State.Backup(ctx, &b); err != nil {
		fail(w, err)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(backupTime))
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes())
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) {
	if s.State == nil {
		fail(w, noRoute(r))
		return
	}
	by, err := s.admit(owning, r)
	if err != nil {
		fail(w, err)
		return
	}
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(backupTime))
	_ = conn.SetWriteDeadline(time.Now().Add(backupTime + answerTime))
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), backupTime)
	defer stop()
	restored, err := s.State.Restore(ctx, http.MaxBytesReader(w, r.Body, maxBackup), by)
	if err != nil {
		fail(w, err)
		return
	}
	text, err := json.Marshal(restored)
	if err != nil {
		fail(w, &sluice.Error{Code: sluice.Internal, Message: "the answer cannot be written", Err: err})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}
