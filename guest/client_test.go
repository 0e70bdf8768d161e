package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func client(t testing.TB, address string) *Client {
	t.Helper()
	c, err := NewClient(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewClientRefuses(t *testing.T) {
	for _, address := range []string{"", "web", "unix:", "unix:relative", "http://192.0.2.1:9511", "192.0.2.1:9511/path", "user@192.0.2.1:9511", ":9511", "192.0.2.1:", "a b:1", "192.0.2.1:9511?x", "[::1"} {
		if _, err := NewClient(address); sluice.CodeOf(err) != sluice.Invalid {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"192.0.2.1:9511", "[2001:db8::1]:9511", "web.example:9511", "unix:/run/vm/web.sluice"} {
		if _, err := NewClient(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// served is a collector's TCP side with 100 samples.
func served(t *testing.T) (k *Keeper, address string) {
	t.Helper()
	k, _ = open(t, filepath.Join(t.TempDir(), "usage.db"), day)
	for i := range 100 {
		k.Keep(of(time.Now(), uint64(i), 2))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(k, slog.New(slog.DiscardHandler))
	go server.Serve(Few(listener))
	t.Cleanup(func() { server.Close() })
	return k, listener.Addr().String()
}

// follow pulls everything as a host does and compares it with what is kept.
func follow(t *testing.T, k *Keeper, c *Client, limit int) {
	t.Helper()
	want := all(t, k, MaxLimit)
	var got []sluice.Sample
	after := uint64(0)
	for {
		answer, err := c.Pull(context.Background(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, answer.Samples...)
		if !answer.More {
			break
		}
		after = answer.Samples[len(answer.Samples)-1].ID
	}
	if !bytes.Equal(marshal(t, got), marshal(t, want)) {
		t.Errorf("%d samples came over, %d are kept", len(got), len(want))
	}
}

func TestClientTCP(t *testing.T) {
	k, address := served(t)
	c := client(t, address)
	for _, limit := range []int{7, 100, MaxLimit} {
		follow(t, k, c, limit)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { follow(t, k, c, 30) })
	}
	wg.Wait()
}

func TestServerRefuses(t *testing.T) {
	_, address := served(t)
	for path, status := range map[string]int{
		"/v1/samples?after=-1":                          400,
		"/v1/samples?after=99999999999999999999999":     400,
		"/v1/samples?limit=0":                           400,
		"/v1/samples?limit=1001":                        400,
		"/v1/samples?limit=x":                           400,
		"/v1/samples/":                                  404,
		"/v1/samples?pad=" + strings.Repeat("x", 20000): 431,
		"/v1/latest":                                    200,
	} {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%.60s: %s: %.200s", path, response.Status, text)
		}
	}
	response, err := http.Post("http://"+address+"/v1/samples", "text/plain", strings.NewReader("x"))
	if err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", response, err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

// More connections than there are places are closed, and a place is free
// again when one leaves.
func TestServerFewConnections(t *testing.T) {
	k, address := served(t)
	var conns []net.Conn
	for range maxConns {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	c := client(t, address)
	if _, err := c.Pull(context.Background(), 0, 1); sluice.CodeOf(err) != sluice.Unavailable {
		t.Errorf("one too many: %v", err)
	}
	conns[0].Close()
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := c.Pull(context.Background(), 0, 1)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	follow(t, k, c, 30)
}

// hostile is a VM that answers every connection with what it likes.
func hostile(t *testing.T, network string, serve func(conn net.Conn)) *Client {
	t.Helper()
	address, where := "127.0.0.1:0", ""
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
		where = "unix:" + address
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if where == "" {
		where = listener.Addr().String()
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return client(t, where)
}

// head reads a request's head, or a port's request, and returns its nonce.
func head(conn net.Conn) string {
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		var r request
		if err != nil || line == "\r\n" || json.Unmarshal([]byte(line), &r) == nil {
			return r.Nonce
		}
	}
}

// forever writes until the other end has had enough.
func forever(conn net.Conn, text string) {
	block := []byte(strings.Repeat(text, 1+60_000/len(text)))
	for {
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

func drip(conn net.Conn, text string) {
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// answers are whole answers that no collector gives.
var answers = map[string]string{
	"nothing":                 "",
	"no object":               `[1,2]`,
	"a null":                  `null`,
	"no database":             `{"samples":[]}`,
	"a long database":         `{"database":"` + strings.Repeat("x", 65) + `","samples":[]}`,
	"a database with escape":  `{"database":"\u001b[2J","samples":[]}`,
	"two answers":             `{"database":"d","samples":[]}{"database":"d","samples":[]}`,
	"half an answer":          `{"database":"d","samples":[`,
	"too many samples":        `{"database":"d","samples":[` + strings.Repeat(`{},`, 300_000) + `{}]}`,
	"too many, by twice":      `{"database":"d","samples":[{"id":1}],"samples":[{"id":2},{"id":3},{"id":4},{"id":5}]}`,
	"too many interfaces":     `{"database":"d","samples":[{"id":9,"nics":[` + strings.Repeat(`{},`, 300_000) + `{}]}]}`,
	"very deep":               strings.Repeat(`[`, 900_000),
	"deep in what is skipped": `{"x":` + strings.Repeat(`[`, 500_000),
	"an old sample":           one(`"id":1`),
	"a negative number":       one(`"id":-3`),
	"a huge number":           one(`"id":99999999999999999999999`),
	"a number with point":     one(`"id":9.5`),
	"no time":                 one(`"at":"0001-01-01T00:00:00Z"`),
	"a time of ages":          one(`"at":"9999-01-01T00:00:00Z"`),
	"not a time":              one(`"at":"` + strings.Repeat("9", 9999) + `"`),
	"no span":                 one(`"span_ns":0`),
	"a negative span":         one(`"span_ns":-1000000000`),
	"a span of years":         one(`"span_ns":9223372036854775807`),
	"more bytes than pass":    one(`"nics":[{"name":"a","mac":"52:54:00:00:00:01","tx":{"bytes":18446744073709551615}}]`),
	"more packets than pass":  one(`"nics":[{"name":"a","mac":"52:54:00:00:00:01","rx":{"packets":9000000000000000000}}]`),
	"a name with a line":      one(`"nics":[{"name":"a\nb","mac":"52:54:00:00:00:01"}]`),
	"a long name":             one(`"nics":[{"name":"` + strings.Repeat("a", 16) + `","mac":"52:54:00:00:00:01"}]`),
	"a long address":          one(`"nics":[{"name":"a","mac":"52:54:00:00:00:01:02"}]`),
	"a foreign address":       one(`"nics":[{"name":"a","mac":"<script>alert(1)"}]`),
	"samples in disorder":     `{"database":"d","samples":[` + strings.Repeat(`{"id":9,"at":"2026-11-23T12:00:00Z","span_ns":1000000000},`, 1) + `{"id":8,"at":"2026-11-23T12:00:00Z","span_ns":1000000000}]}`,
}

// one is an answer of one sample that is right but for what is said last.
func one(wrong string) string {
	return `{"database":"d","samples":[{"id":9,"at":"2026-11-23T12:00:00Z","span_ns":1000000000,` + wrong + `}]}`
}

// Whatever a VM does, the host gets an error in time and keeps nothing open.
func TestClientHostile(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	type vm struct {
		network string
		serve   func(conn net.Conn)
	}
	vms := map[string]vm{
		"tcp: closes":          {"tcp", func(net.Conn) {}},
		"tcp: is silent":       {"tcp", func(conn net.Conn) { io.Copy(io.Discard, conn) }},
		"tcp: never reads":     {"tcp", func(net.Conn) { time.Sleep(3 * time.Second) }},
		"tcp: garbage":         {"tcp", func(conn net.Conn) { head(conn); io.WriteString(conn, "SSH-2.0-x\r\n\r\n") }},
		"tcp: endless garbage": {"tcp", func(conn net.Conn) { forever(conn, "garbage") }},
		"tcp: endless heading": {"tcp", func(conn net.Conn) { head(conn); io.WriteString(conn, ok); forever(conn, "X-A: b\r\n") }},
		"tcp: endless hints":   {"tcp", func(conn net.Conn) { head(conn); forever(conn, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n") }},
		"tcp: endless body":    {"tcp", func(conn net.Conn) { head(conn); io.WriteString(conn, ok+"\r\n"); forever(conn, "[{},") }},
		"tcp: endless chunks": {"tcp", func(conn net.Conn) {
			head(conn)
			io.WriteString(conn, ok+"Transfer-Encoding: chunked\r\n\r\n")
			forever(conn, "1\r\n \r\n")
		}},
		"tcp: slow heading": {"tcp", func(conn net.Conn) { head(conn); drip(conn, "H") }},
		"tcp: slow body":    {"tcp", func(conn net.Conn) { head(conn); io.WriteString(conn, ok+"\r\n"); drip(conn, " ") }},
		"tcp: a great length": {"tcp", func(conn net.Conn) {
			head(conn)
			io.WriteString(conn, ok+"Content-Length: 9223372036854775807\r\n\r\n{}")
		}},
		"tcp: leads elsewhere": {"tcp", func(conn net.Conn) {
			head(conn)
			io.WriteString(conn, "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
		}},
		"tcp: says no": {"tcp", func(conn net.Conn) {
			head(conn)
			io.WriteString(conn, "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
		}},
		"unix: closes":          {"unix", func(net.Conn) {}},
		"unix: is silent":       {"unix", func(conn net.Conn) { io.Copy(io.Discard, conn) }},
		"unix: closes later":    {"unix", func(conn net.Conn) { head(conn) }},
		"unix: endless line":    {"unix", func(conn net.Conn) { forever(conn, "garbage") }},
		"unix: endless lines":   {"unix", func(conn net.Conn) { forever(conn, "garbage\n") }},
		"unix: endless nothing": {"unix", func(conn net.Conn) { forever(conn, "\n") }},
		"unix: slow line":       {"unix", func(conn net.Conn) { head(conn); drip(conn, "{") }},
		"unix: slow lines":      {"unix", func(conn net.Conn) { head(conn); drip(conn, "{}\n") }},
		"unix: another's nonce": {"unix", func(conn net.Conn) {
			head(conn)
			forever(conn, `{"nonce":"x","samples":{"database":"d","samples":[]}}`+"\n")
		}},
		"unix: nonce elsewhere": {"unix", func(conn net.Conn) {
			n := head(conn)
			forever(conn, `{"nonce":"x","y":"`+n+`","samples":{"database":"d","samples":[]}}`+"\n")
		}},
		"unix: only the nonce": {"unix", func(conn net.Conn) { fmt.Fprintf(conn, "{\"nonce\":%q}\n", head(conn)) }},
		"unix: an error": {"unix", func(conn net.Conn) {
			fmt.Fprintf(conn, "{\"nonce\":%q,\"error\":%q}\n", head(conn), strings.Repeat("\x1b[2J", 9999))
		}},
	}
	for name, text := range answers {
		vms["tcp: "+name] = vm{"tcp", func(conn net.Conn) {
			head(conn)
			fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", ok, len(text), text)
		}}
		vms["unix: "+name] = vm{"unix", func(conn net.Conn) { fmt.Fprintf(conn, "{\"nonce\":%q,\"samples\":%s}\n", head(conn), text) }}
	}
	before := runtime.NumGoroutine()
	files := openFiles(t)
	t.Run("all", func(t *testing.T) {
		for name, vm := range vms {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := hostile(t, vm.network, vm.serve)
				for range 2 { // a second pull is no better off for the first
					ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
					began := time.Now()
					got, err := c.Pull(ctx, 5, 4)
					cancel()
					if sluice.CodeOf(err) != sluice.Unavailable || !reflect.DeepEqual(got, sluice.Samples{Cost: got.Cost}) {
						t.Fatalf("%+v, %v", got, err)
					}
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("it took %s", took)
					}
					if text := err.Error(); len(text) > 500 || strings.ContainsAny(text, "\x1b\n") {
						t.Errorf("a log would not like %d bytes of %.600q", len(text), text)
					}
				}
			})
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before || openFiles(t) > files {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before; %d files, %d before: %s", runtime.NumGoroutine(), before, openFiles(t), files, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Who waits for a VM can be told to stop, and the deadline is named as such.
func TestClientEnds(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		c := hostile(t, network, func(conn net.Conn) { io.Copy(io.Discard, conn) })
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := c.Pull(ctx, 0, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", network, err)
		}
		ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
		if _, err := c.Pull(ctx, 0, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", network, err)
		}
		cancel()
	}
	for _, address := range []string{"127.0.0.1:1", "unix:/nonexistent/socket"} {
		if _, err := client(t, address).Pull(context.Background(), 0, 1); sluice.CodeOf(err) != sluice.Unavailable {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"nonce":"abc","samples":{"database":"d","more":true,"samples":[{"id":9,"at":"2026-11-23T12:00:00Z","span_ns":1000000000,"nics":[{"name":"eth0","mac":"52:54:00:00:00:01","tx":{"bytes":1,"packets":2,"dropped":3},"rx":{}}]}]}}`))
	for _, text := range answers {
		if len(text) < 1000 {
			f.Add([]byte(`{"nonce":"abc","samples":` + text + `}`))
			f.Add([]byte(text))
		}
	}
	f.Add([]byte(`{"nonce":"abc","error":"no"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const limit = 3
		for range 2 {
			got, ours, err := parseAnswer(text, "abc", limit)
			if !ours {
				got, err = parseSamples(text, limit)
			}
			if len(got.Samples) > limit {
				t.Fatalf("%d samples", len(got.Samples))
			}
			if err != nil && len(err.Error()) > 600 {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			if err != nil || check(got, 0, limit) != nil {
				return
			}
			// What is believed says the same when it is said again.
			text = marshal(t, answer{Nonce: "abc", Samples: &got})
			again, ours, err := parseAnswer(text, "abc", limit)
			if !ours || err != nil || !bytes.Equal(marshal(t, again), marshal(t, got)) {
				t.Fatalf("%.300s: %.300s, %v", text, fmt.Sprint(again), err)
			}
		}
	})
}
