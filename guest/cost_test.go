package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What an answer cost is told also where it makes no sense, and one that comes
// byte by byte is given up.
func TestCost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vm.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	say := make(chan func(net.Conn), 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); (<-say)(c) }()
		}
	}()
	client, err := NewClient("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	long := strings.Repeat("x", maxAnswer/2)
	say <- func(c net.Conn) { fmt.Fprintf(c, "%s\n", long) }
	got, err := client.Pull(context.Background(), 0, 10)
	if err == nil || got.Cost < len(long) || got.Cost > 3*len(long) {
		t.Errorf("nonsense of %d bytes costs %d, %v", len(long), got.Cost, err)
	}
	say <- func(c net.Conn) {
		for range 2 * maxCost / pieceCost {
			if _, err := c.Write([]byte{'x'}); err != nil {
				return
			}
			time.Sleep(time.Microsecond)
		}
		time.Sleep(time.Second)
	}
	got, err = client.Pull(context.Background(), 0, 10)
	if !errors.Is(err, errPieces) && got.Cost < maxCost/4 {
		t.Errorf("byte by byte: it costs %d, %v", got.Cost, err)
	}
}

// BenchmarkWorst is the worst that a VM can have the host parse: monitor's
// budget says how much of it.
func BenchmarkWorst(b *testing.B) {
	for name, text := range map[string]string{
		"keys":    `{"database":"d","samples":[{` + strings.Repeat(`"a":0,`, maxAnswer/6-20) + `"id":1}]}`,
		"nested":  `{"database":"d","a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"samples":[]}`,
		"counts":  `{"database":"d","samples":[{"nics":[{` + strings.Repeat(`"a":0,`, maxAnswer/6-20) + `"name":"e"}]}]}`,
		"samples": `{"database":"d","samples":[` + strings.Repeat(`{"id":7,"at":"2026-01-02T03:04:05Z","span_ns":1000000000,"nics":[{"name":"e","tx":{"bytes":1},"rx":{}},{},{},{}]},`, 511) + `{}]}`,
		"spaces":  `{"database":"d",` + strings.Repeat(" ", maxAnswer-100) + `"samples":[]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, _ = parseSamples([]byte(text), 512)
			}
		})
	}
}
