package http

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"sluice"
)

// noTime keeps http.ServeContent from naming a time: embedded files have none.
var noTime time.Time

// page serves files out of memory. Files under assets/ carry their content's
// hash in their name and are kept for ever; the rest is asked for again each
// time, and answered by 304 while it is the same.
type page struct {
	files map[string]file
}

type file struct {
	content []byte
	etag    string
}

// newPage reads all files; nil means there is no page.
func newPage(from fs.FS) (page, error) {
	p := page{files: map[string]file{}}
	if from == nil {
		return p, nil
	}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(from, name)
		sum := sha256.Sum256(content)
		p.files[name] = file{content, `"` + hex.EncodeToString(sum[:12]) + `"`}
		return err
	})
	return p, err
}

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	f, ok := p.files[name]
	switch {
	case !ok && name == "index.html":
		fail(w, &sluice.Error{Code: sluice.NotFound, Message: "this daemon was built without its page", Try: "make build, or the API at /openapi.json"})
		return
	case !ok:
		fail(w, noRoute(r))
		return
	case strings.HasPrefix(name, "assets/"):
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	default:
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.Header().Set("ETag", f.etag)
	http.ServeContent(w, r, name, noTime, bytes.NewReader(f.content))
}
