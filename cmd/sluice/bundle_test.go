package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestWithoutSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"token = \"x\"\nbridge = \"br0\"":           "token = \"removed\"\nbridge = \"br0\"",
		"  libvirt_password= 'a b' # c":             "  libvirt_password= \"removed\"",
		"collector = \"http://me:pass@10.0.0.1:1\"": "collector = \"http://me:removed@10.0.0.1:1\"",
		"collector = \"10.0.0.1:9511\"":             "collector = \"10.0.0.1:9511\"",
	} {
		if got := string(withoutSecrets([]byte(text))); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// What cannot be had is named, and all else is in the bundle.
func TestBundle(t *testing.T) {
	content, missing, err := bundle(t.Context(), []exhibit{
		{"a.txt", func(context.Context) ([]byte, error) { return []byte("all"), nil }},
		{"b.txt", func(context.Context) ([]byte, error) { return nil, errors.New("no b") }},
		{"c.txt", output("sh", "-c", "echo some; echo why >&2; exit 3")},
		{"d.txt", output("no-such-program")},
	}, time.Now())
	if err != nil || len(missing) != 3 || !strings.Contains(missing[1], "why") {
		t.Fatalf("%q, %v", missing, err)
	}
	zipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for files := tar.NewReader(zipped); ; {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(text)
	}
	for name, says := range map[string]string{"a.txt": "all", "b.txt.missing": "no b", "c.txt": "some", "d.txt.missing": "no-such-program"} {
		if !strings.Contains(got["sluice-support/"+name], says) {
			t.Errorf("%s is %q, want %q", name, got["sluice-support/"+name], says)
		}
	}
}
