package http

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// sign signs a request as the page does.
func sign(token, method, path, challenge, nonce, body string) string {
	text := fmt.Sprintf("%s\n%s\n%s\n%s\n%x", method, path, challenge, nonce, sha256.Sum256([]byte(body)))
	return fmt.Sprintf("%s%s.%s.%x", signedScheme, challenge, nonce, mac([]byte(token), []byte(text)))
}

// The same values are in web/src/sign.test.ts.
func TestSignature(t *testing.T) {
	const want = "Sluice c.n.14c30d284094748bfe7820b4c6404b073768b20f4b9f7bd60072a293e5310352"
	if got := sign("LET-ME-IN", "POST", "/v1/changes", "c", "n", `{"vm":"web"}`); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A signed request passes once, as it was signed, for a minute, and only with
// a challenge of this run of the daemon.
func TestSignedRequest(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	const path, body = "/v1/changes", `{"vm":"web","tx":{"limit":"1mbit"}}`
	fresh := func() string {
		t.Helper()
		status, text, _ := ask(t, d, "GET", "/v1/challenge", "")
		var c Challenge
		if err := json.Unmarshal([]byte(text), &c); status != 200 || err != nil || c.Challenge == "" {
			t.Fatal(status, text, err)
		}
		return c.Challenge
	}
	c := fresh()
	good := sign(testToken, "POST", path, c, "1", body)
	foreign := new(signatures).challenge(time.Now())
	for _, x := range []struct {
		name, body, auth string
		status           int
	}{
		{"as signed", body, good, 200},
		{"again", body, good, 401},
		{"again, spelled otherwise", body, signedScheme + strings.ToUpper(strings.TrimPrefix(good, signedScheme)), 401},
		{"with another nonce", body, sign(testToken, "POST", path, c, "2", body), 200},
		{"with another body", body + " ", sign(testToken, "POST", path, c, "3", body), 401},
		{"for another path", body, sign(testToken, "POST", "/v1/batch", c, "4", body), 401},
		{"with another token", body, sign("GUESS", "POST", path, c, "5", body), 401},
		{"with no token", body, sign("", "POST", path, c, "6", body), 401},
		{"with another daemon's challenge", body, sign(testToken, "POST", path, foreign, "7", body), 401},
		{"with a long nonce", body, sign(testToken, "POST", path, c, strings.Repeat("8", mostNonce+1), body), 401},
		{"with nonsense", body, signedScheme + "..", 401},
	} {
		if status, text, _ := ask(t, d, "POST", path, x.body, "Authorization", x.auth); status != x.status {
			t.Errorf("%s: %d, want %d: %s", x.name, status, x.status, text)
		}
	}

	var s signatures
	now := time.Now()
	c = s.challenge(now)
	auth := strings.TrimPrefix(sign(testToken, "POST", path, c, "1", body), signedScheme)
	for _, x := range []struct {
		after time.Duration
		ok    bool
	}{{2 * challengeTime, false}, {challengeTime / 2, true}, {challengeTime / 2, false}} {
		r, err := http.NewRequest("POST", path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := s.check(auth, testToken, r, now.Add(x.after)); ok != x.ok || err != nil {
			t.Errorf("%s later: %v, %v", x.after, ok, err)
		}
	}
}
