package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"sluice"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: on the Unix socket only root and the group pass")
	}
}

// ask makes one request to a door and returns its status, body and headers.
func ask(t *testing.T, d *Door, method, path, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, d.URL()+strings.TrimPrefix(path, "/"), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	if strings.HasSuffix(path, "/events") {
		req.Method = "HEAD" // the stream itself never ends
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header
}

// TestEveryRoute walks the table: what reads is free on loopback, what writes
// needs the token, and nothing can be had through another site.
func TestEveryRoute(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	routes, err := new(Server).routes(new(events), newMeters(nil))
	if err != nil {
		t.Fatal(err)
	}
	self := fmt.Sprintf("http://127.0.0.1:%d", port(d))
	for _, rt := range routes {
		if rt.method == "" {
			continue
		}
		path := strings.NewReplacer("{vm}", "web", "{id}", "1").Replace(rt.pattern)
		body := ""
		if rt.in != nil {
			body = `{"vm":"web","vif":0,"tx":{"limit":"1mbit"}}`
		}
		if strings.HasSuffix(rt.pattern, "/batch") {
			body = "[" + body + "]"
		}
		if strings.HasSuffix(rt.pattern, "/capacity") {
			body = `{"tx":"1gbit"}`
		}
		if strings.HasSuffix(rt.pattern, "/profiles") && rt.in != nil {
			body = `{"name":"small","tx":{"limit":"1mbit"}}`
		}
		if strings.HasSuffix(rt.pattern, "/forget") {
			body = `{"vm":"web","vif":0}`
		}
		t.Run(rt.method+" "+rt.pattern, func(t *testing.T) {
			if writes := rt.method != "GET"; writes != (rt.access == writing) && rt.access != owning {
				t.Fatalf("method %s with access %d", rt.method, rt.access)
			}
			if strings.HasSuffix(path, "/events") {
				return // see TestEvents; its refusals are below
			}
			open := 200
			if rt.access == writing {
				open = 401
			}
			if rt.access == owning {
				if status, text, _ := ask(t, d, rt.method, path, body, "Authorization", "Bearer "+testToken); status != 403 || !strings.Contains(text, "Unix socket only") {
					t.Errorf("over TCP: %d %s", status, text)
				}
				return
			}
			for _, c := range []struct {
				name   string
				header []string
				status int
			}{
				{"alone", nil, open},
				{"with the token", []string{"Authorization", "Bearer " + testToken}, 200},
				{"with a wrong token", []string{"Authorization", "Bearer " + testToken + "x"}, open},
				{"with no token", []string{"Authorization", "Bearer "}, open},
				{"by its own page", []string{"Origin", self, "Authorization", "Bearer " + testToken}, 200},
				{"as localhost", []string{"Host", fmt.Sprintf("localhost:%d", port(d)), "Authorization", "Bearer " + testToken}, 200},
				{"through a forwarded port", []string{"Host", "localhost:9000", "Origin", "http://localhost:9000", "Authorization", "Bearer " + testToken}, 200},
				{"by another page", []string{"Origin", "http://evil.example", "Authorization", "Bearer " + testToken}, 403},
				{"by a page of another port", []string{"Origin", "http://127.0.0.1:1", "Authorization", "Bearer " + testToken}, 403},
				{"by a sandboxed page", []string{"Origin", "null", "Authorization", "Bearer " + testToken}, 403},
				{"by a rebound name", []string{"Host", "evil.example", "Authorization", "Bearer " + testToken}, 403},
				{"by a rebound name, alike", []string{"Host", "127.0.0.1.evil.example", "Authorization", "Bearer " + testToken}, 403},
				{"by another address", []string{"Host", "10.0.0.1", "Authorization", "Bearer " + testToken}, 403},
			} {
				status, text, header := ask(t, d, rt.method, path, body, c.header...)
				if status != c.status {
					t.Errorf("%s: %d, want %d: %.200s", c.name, status, c.status, text)
				}
				if status != 200 {
					var e sluice.Error
					if json.Unmarshal([]byte(text), &e) != nil || e.Code == "" || e.Message == "" || e.Try == "" {
						t.Errorf("%s: %q does not say what is wrong and what to try", c.name, text)
					}
				}
				if !strings.Contains(header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: headers %v", c.name, header)
				}
			}
		})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.asked {
		if !strings.HasSuffix(r.By, " with the token") || strings.HasPrefix(r.By, "somebody") {
			t.Errorf("a request passed as %q", r.By)
		}
	}
}

// TestEventsAccess: the stream too is for this site only.
func TestEventsAccess(t *testing.T) {
	d := tcpDoor(t)
	serve(t, newHost(), d)
	if status, _, _ := ask(t, d, "GET", "/v1/events", "", "Origin", "http://evil.example"); status != 403 {
		t.Error("another page:", status)
	}
	if status, _, _ := ask(t, d, "GET", "/v1/events", "", "Host", "evil.example"); status != 403 {
		t.Error("a rebound name:", status)
	}
}

func TestBadRequests(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	for _, c := range []struct {
		method, path, body, kind string
		status                   int
		says                     string
	}{
		{"POST", "/v1/changes", ``, "application/json", 400, "JSON value"},
		{"POST", "/v1/changes", `{"vm":`, "application/json", 400, "JSON value"},
		{"POST", "/v1/changes", `{"vm":"web"} {}`, "application/json", 400, "more follows"},
		{"POST", "/v1/changes", `{"vm":"web","txx":{}}`, "application/json", 400, "txx"},
		{"POST", "/v1/changes", `{"vm":"web","vif":1.5}`, "application/json", 400, "vif"},
		{"POST", "/v1/changes", `{"vm":"web","tx":{"limit":"10mbps"}}`, "application/json", 400, "ambiguous"},
		{"POST", "/v1/changes", `{"vm":"web","tx":{"limit":-5}}`, "application/json", 400, "-5"},
		{"POST", "/v1/changes", `{"vm":"web","tx":{"limit":1e99}}`, "application/json", 400, "1e99"},
		{"POST", "/v1/changes", `{"vm":"web"}`, "text/plain", 400, "text/plain"},
		{"POST", "/v1/changes", `{"vm":"` + strings.Repeat("x", maxBody) + `"}`, "application/json", 400, "too large"},
		{"POST", "/v1/changes/0/undo", ``, "", 400, "number of a change"},
		{"POST", "/v1/changes/x/confirm", ``, "", 400, "number of a change"},
		{"POST", "/v1/changes/-1/undo", ``, "", 400, "number of a change"},
		{"GET", "/v1/changes/zwei", ``, "", 400, "zwei"},
		{"GET", "/v1/changes?limit=1001", ``, "", 400, "1 to 1000"},
		{"GET", "/v1/recent?seconds=-1", ``, "", 400, "1 to 3600"},
		{"GET", "/v1/vms/nobody", ``, "", 404, "nobody"},
		{"GET", "/v1/nothing", ``, "", 404, "/v1/nothing"},
		{"DELETE", "/v1/vifs", ``, "", 404, "DELETE"},
		{"PUT", "/", ``, "", 404, "PUT"},
		{"GET", "/assets/", ``, "", 404, "/assets"},
	} {
		status, body, _ := ask(t, d, c.method, c.path, c.body, "Authorization", "Bearer "+testToken, "Content-Type", c.kind)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.path, c.body, status, body)
		}
	}
	if len(h.asked) != 0 {
		t.Errorf("a bad request went through: %+v", h.asked)
	}
}

func TestPage(t *testing.T) {
	d := tcpDoor(t)
	serve(t, newHost(), d)
	status, body, header := ask(t, d, "GET", "/", "")
	if status != 200 || body != "<!doctype html>" || header.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		t.Errorf("page: %d %q %v", status, body, header)
	}
	if status, _, _ := ask(t, d, "GET", "/", "", "If-None-Match", header.Get("ETag")); status != 304 {
		t.Error("page, again:", status)
	}
	if _, _, header := ask(t, d, "GET", "/assets/app-1a2b.js", ""); !strings.Contains(header.Get("Cache-Control"), "immutable") {
		t.Errorf("asset: %v", header)
	}
	for _, path := range []string{"/..%2f..%2fetc/passwd", "/assets/%00", "//etc/passwd"} {
		if status, _, _ := ask(t, d, "GET", path, ""); status == 200 && path != "//etc/passwd" {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestMetrics(t *testing.T) {
	d := tcpDoor(t)
	h := newHost()
	serve(t, h, d)
	h.changes <- sluice.Change{Result: sluice.Pending}
	h.changes <- sluice.Change{Result: sluice.Done, TookNS: 1_500_000}
	h.changes <- sluice.Change{Result: sluice.Pending} // so the one before is counted
	h.err = &sluice.Error{Code: sluice.Refused, Message: "no"}
	ask(t, d, "POST", "/v1/changes", `{"vm":"web"}`, "Authorization", "Bearer "+testToken)
	_, body, _ := ask(t, d, "GET", "/metrics", "")
	for _, line := range []string{
		`sluice_vif_usage_bits_per_second{direction="tx",key="4c4c4544-0042-3010-8044-b4c04f4d3132/52:54:00:00:00:01",uuid="4c4c4544-0042-3010-8044-b4c04f4d3132",vif="0",vm="web"} 1.2345678e+07`,
		`sluice_vif_limit_bits_per_second{direction="tx",key="4c4c4544-0042-3010-8044-b4c04f4d3132/52:54:00:00:00:01",uuid="4c4c4544-0042-3010-8044-b4c04f4d3132",vif="0",vm="web"} 1e+08`,
		`sluice_vif_limit_bits_per_second{direction="rx",key="4c4c4544-0042-3010-8044-b4c04f4d3132/52:54:00:00:00:01",uuid="4c4c4544-0042-3010-8044-b4c04f4d3132",vif="0",vm="web"} +Inf`,
		`sluice_changes_total{result="done"} 1`,
		`sluice_changes_total{result="refused"} 1`,
		`sluice_change_duration_seconds_bucket{le="0.002"} 1`,
		`sluice_collector_problem{key="4c4c4544-0042-3010-8044-b4c04f4d3132/52:54:00:00:00:01",uuid="4c4c4544-0042-3010-8044-b4c04f4d3132",vif="0",vm="web"} 0`,
		`go_goroutines `, `process_resident_memory_bytes `,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s in:\n%s", line, bytes.TrimSpace([]byte(body)))
		}
	}
}
