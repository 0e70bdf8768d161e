package http

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice"
)

// A page does not send the token over plain HTTP: whoever listens on the port
// while the daemon does not (any user of the host may) would get it. It sends
// what only the token's owner can make, for one request:
//
//	Authorization: Sluice CHALLENGE.NONCE.MAC
//	MAC = hex(HMAC-SHA256(token, METHOD \n PATH?QUERY \n CHALLENGE \n NONCE \n hex(SHA-256(body))))
//
// The challenge is this daemon's, of GET /v1/challenge; the nonce is any text.
// What a stranger gets of it is good for that request alone, once, and for
// nothing when the daemon has been started again.
const (
	signedScheme  = "Sluice "
	challengeTime = time.Minute // that a challenge is good for
	mostNonce     = 64          // bytes
	mostSigned    = 10_000      // requests remembered in that time
)

// signatures checks signed requests. The zero value can be used.
type signatures struct {
	mu     sync.Mutex // guards what follows
	secret []byte     // of this run of the daemon
	seen   map[string]time.Time
}

// Challenge is what a request is signed with.
type Challenge struct {
	Challenge string `json:"challenge"`
}

// challenge makes a new one: its time, and what shows that it is ours.
func (s *signatures) challenge(now time.Time) string {
	at := binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(at, s.mark(at)...))
}

func (s *signatures) mark(at []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret == nil {
		s.secret = make([]byte, 32)
		_, _ = rand.Read(s.secret) // never fails
	}
	return mac(s.secret, at)[:16]
}

// fresh says whether a challenge is ours and recent.
func (s *signatures) fresh(challenge string, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(challenge)
	if err != nil || len(b) != 24 || !hmac.Equal(b[8:], s.mark(b[:8])) {
		return false
	}
	age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(b))))
	return age >= -challengeTime && age <= challengeTime
}

// check says whether a request is signed with the token, for the first time.
// It reads the body and puts it back.
func (s *signatures) check(given, token string, r *http.Request, now time.Time) (bool, error) {
	parts := strings.Split(given, ".")
	if token == "" || len(parts) != 3 || len(parts[1]) > mostNonce || !s.fresh(parts[0], now) {
		return false, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return false, badBody("it cannot be read as one", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	text := fmt.Sprintf("%s\n%s\n%s\n%s\n%x", r.Method, r.URL.RequestURI(), parts[0], parts[1], sum)
	claimed, err := hex.DecodeString(parts[2])
	if err != nil || !hmac.Equal(claimed, mac([]byte(token), []byte(text))) {
		return false, nil
	}
	return s.first(parts[2], now), nil
}

// first remembers a signature; false if it was used before.
func (s *signatures) first(signature string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[string]time.Time)
	}
	for old, at := range s.seen {
		if now.Sub(at) > 2*challengeTime {
			delete(s.seen, old)
		}
	}
	signature = strings.ToLower(signature)
	if _, used := s.seen[signature]; used || len(s.seen) >= mostSigned {
		return false
	}
	s.seen[signature] = now
	return true
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

func (s *Server) challenge(*http.Request, string) (any, error) {
	return Challenge{s.signed.challenge(time.Now())}, nil
}

// authorised says whether a request carries the token, or is signed with it.
func (s *Server) authorised(r *http.Request) (bool, error) {
	given := r.Header.Get("Authorization")
	if bearer, ok := strings.CutPrefix(given, "Bearer "); ok {
		return sameToken(bearer, s.token()), nil
	}
	if signed, ok := strings.CutPrefix(given, signedScheme); ok {
		return s.signed.check(signed, s.token(), r, time.Now())
	}
	return false, nil
}

func wrongToken() error {
	return &sluice.Error{Code: sluice.Unknown, Message: "the daemon's token is missing or wrong", Unchanged: "nothing was changed",
		Try: "Authorization: Bearer TOKEN, with what the file " + tokenFile + " in the daemon's state directory holds"}
}
