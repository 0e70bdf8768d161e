package http

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"encoding/json"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

const documentFile = "../docs/openapi.json"

// TestDocument holds the committed document against the routes.
func TestDocument(t *testing.T) {
	routes, err := new(Server).routes(new(events), newMeters(nil))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(describe(routes), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(documentFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/openapi.json is not what the routes say: go generate ./http")
	}
}
