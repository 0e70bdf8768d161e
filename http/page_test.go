package http

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// TestPagePacked: who takes gzip gets less, of the same content; who does not
// gets it plain; and what is packed already stays so.
func TestPagePacked(t *testing.T) {
	long := strings.Repeat("a river, ", 1000)
	p, err := newPage(fstest.MapFS{"index.html": {Data: []byte(long)}, "assets/f.woff2": {Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, takes string
		packed      bool
	}{{"/", "gzip, br", true}, {"/", "br;q=1, gzip;q=0.5", true}, {"/", "gzip;q=0", false}, {"/", "", false}, {"/assets/f.woff2", "gzip", false}} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Header.Set("Accept-Encoding", c.takes)
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != c.packed {
			t.Errorf("%s for %q is packed: %v", c.path, c.takes, got)
		}
		if c.packed {
			z, err := gzip.NewReader(bytes.NewReader(w.Body.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := io.ReadAll(z); string(b) != long || w.Body.Len() >= len(long) {
				t.Errorf("%d bytes sent for %d", w.Body.Len(), len(long))
			}
			again := httptest.NewRecorder()
			r.Header.Set("If-None-Match", w.Header().Get("ETag"))
			if p.ServeHTTP(again, r); again.Code != http.StatusNotModified {
				t.Errorf("asked again: %d", again.Code)
			}
		}
	}
}
