package http

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
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
	packed  []byte // the same as gzip writes it; nil where that is not smaller
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
		p.files[name] = file{content, pack(content), `"` + hex.EncodeToString(sum[:12]) + `"`}
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
	w.Header().Set("Vary", "Accept-Encoding")
	content, etag := f.content, f.etag
	if f.packed != nil && takesGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		content, etag = f.packed, strings.TrimSuffix(f.etag, `"`)+`-gzip"`
	}
	w.Header().Set("ETag", etag)
	http.ServeContent(w, r, name, noTime, bytes.NewReader(content))
}

// pack compresses a file once, when the daemon starts; nil if that saves less
// than a twentieth, as with fonts.
func pack(content []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                               // memory takes all
	_ = w.Close()
	if b.Len() > len(content)-len(content)/20 {
		return nil
	}
	return b.Bytes()
}

// takesGzip says whether the client lists gzip, and not with a weight of 0 (RFC 9110, 12.5.3).
func takesGzip(r *http.Request) bool {
	for _, one := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, q, _ := strings.Cut(strings.ReplaceAll(one, " ", ""), ";")
		if strings.EqualFold(name, "gzip") {
			weight, err := strconv.ParseFloat(strings.TrimPrefix(q, "q="), 64)
			return err != nil || weight > 0
		}
	}
	return false
}
