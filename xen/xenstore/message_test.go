package xenstore

import (
	"bytes"
	"testing"
)

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00Domain-0"))
	f.Add([]byte("\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00ENOENT\x00"))
	f.Add([]byte("\x0f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		m, err := readMessage(bytes.NewReader(wire))
		if err != nil {
			return
		}
		if len(m.payload) > maxAnswer {
			t.Fatalf("a payload of %d bytes", len(m.payload))
		}
		if again := m.append(nil); !bytes.HasPrefix(wire, again) {
			t.Fatalf("%q became %q", wire, again)
		}
		split(m.payload)
		first(m.payload)
	})
}

func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"/", "/local/domain/1", "name", "//", "/a/", "@x", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if CheckPath(path) == nil && (path == "" || bytes.IndexByte([]byte(path), 0) >= 0 || len(path) > maxAbsolutePath) {
			t.Fatalf("%q passed", path)
		}
	})
}

func FuzzPermission(f *testing.F) {
	f.Add("n0")
	f.Add("b65535")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePermission(s)
		if err != nil {
			return
		}
		if again, err := parsePermission(p.String()); err != nil || again != p {
			t.Fatalf("%q became %v, %v", s, again, err)
		}
	})
}
