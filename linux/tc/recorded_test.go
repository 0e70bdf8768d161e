package tc

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/recorded.txt
var recording string

// recorded are the messages of the one command that begins so: their bodies,
// without the heads.
func recorded(t testing.TB, command string) (bodies [][]byte) {
	t.Helper()
	found := 0
	for block := range strings.SplitSeq(recording, "\n$ ") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if !strings.HasPrefix(lines[0]+"\n", command) {
			continue
		}
		found++
		for _, line := range lines[1:] {
			var way, body string
			var typ int
			if _, err := fmt.Sscan(line, &way, &typ, &body); err != nil {
				t.Fatalf("%.40q: %v", line, err)
			}
			b, err := hex.DecodeString(body)
			if err != nil {
				t.Fatalf("%.40q: %v", line, err)
			}
			bodies = append(bodies, b)
		}
	}
	if found != 1 || len(bodies) == 0 {
		t.Fatalf("%d recordings of %q, with %d messages", found, command, len(bodies))
	}
	return bodies
}
