package http

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice"
	"sluice/files"
)

// tokenFile holds the token within the state directory, readable by root only.
const tokenFile = "token"

// Token returns the secret that writing over TCP needs, from the state
// directory, and makes it on first start.
func Token(stateDir string) (string, error) {
	path := filepath.Join(stateDir, tokenFile)
	b, err := os.ReadFile(path)
	if token := strings.TrimSpace(string(b)); err == nil && token != "" {
		return token, os.Chmod(path, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", cannotKeep(path, err)
	}
	token := rand.Text()
	if err := files.Write(path, []byte(token+"\n")); err != nil {
		return "", cannotKeep(path, err)
	}
	return token, nil
}

// KeepToken keeps a token that a backup had.
func KeepToken(stateDir, token string) error {
	path := filepath.Join(stateDir, tokenFile)
	if err := files.Write(path, []byte(strings.TrimSpace(token)+"\n")); err != nil {
		return cannotKeep(path, err)
	}
	return nil
}

func cannotKeep(path string, err error) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "the token cannot be kept in " + path,
		Unchanged: "nothing was started", Try: "make room there, or another --state-dir", Err: err}
}

// sameToken compares in a time that says nothing of where they differ.
func sameToken(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return b != "" && subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
