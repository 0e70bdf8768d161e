package lxd

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice"
)

// answer is as LXD 5.0.2 gave it, shortened.
const answer = `{"type":"sync","status":"Success","status_code":200,"metadata":[
{"name":"web","project":"default","status":"Running","status_code":103,
 "expanded_config":{"user.sluice.profile":"gold","volatile.uuid":"48580410-9680-4B8F-b6d1-0a08a94cfa45","volatile.eth10.host_name":"vethb","volatile.eth2.host_name":"vetha",
  "volatile.eth2.hwaddr":"00:16:3E:ae:9b:85","volatile.eth3.hwaddr":"00:16:3e:ae:9b:87"},
 "expanded_devices":{"eth10":{"type":"nic","hwaddr":"00:16:3e:ae:9b:86"},"eth2":{"type":"nic","nictype":"bridged"},"eth3":{"type":"nic","nictype":"sriov"},"root":{"type":"disk"}}},
{"name":"db","project":"shop","status_code":110,"expanded_config":{},"expanded_devices":{"eth0":{"type":"nic","host_name":"db0"}}},
{"name":"off","project":"default","status_code":102,"expanded_config":{"volatile.eth0.host_name":"vethc"},"expanded_devices":{"eth0":{"type":"nic"}}}]}`

const uuid = "48580410-9680-4b8f-b6d1-0a08a94cfa45"

var named = []sluice.VIF{
	{VM: "web", UUID: uuid, Index: 0, MAC: "00:16:3e:ae:9b:85", Device: "vetha", Profile: "gold"},
	{VM: "web", UUID: uuid, Index: 2, MAC: "00:16:3e:ae:9b:86", Device: "vethb", Profile: "gold"},
	{VM: "shop/db", Device: "db0"},
}

func TestParse(t *testing.T) {
	if all, err := parse(strings.NewReader(answer)); err != nil || !slices.Equal(all, named) {
		t.Errorf("%+v, %v; want %+v", all, err, named)
	}
	for bad, says := range map[string]string{
		"":                "cannot be read",
		"<html>":          "cannot be read",
		`{"metadata":{}}`: "cannot be read",
		`{"type":"error","error":"not authorized","error_code":403}`: "not authorized",
		`{"metadata":[` + strings.Repeat(" ", mostAnswer):            "more than",
	} {
		if all, err := parse(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %+v, %v", bad, all, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(answer)
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := parse(strings.NewReader(text))
		for _, v := range all {
			if v.VM == "" || v.VM != sluice.Printable(v.VM) || v.Device == "" || len(v.Device) > 15 {
				t.Errorf("%+v", v)
			}
		}
	})
}

// A daemon that hangs, refuses or answers garbage costs only names, and says so.
func TestBadDaemons(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"closes":  func(c net.Conn) { c.Close() },
		"garbage": func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-x\r\n\r\n")); c.Close() },
		"refuses": func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
			c.Close()
		},
	} {
		path := filepath.Join(t.TempDir(), "socket")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
		n := New(Daemon{"LXD", []string{"/nowhere", path}}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { n.Run(ctx); close(done) }()
		until := time.Now().Add(5 * time.Second)
		for err, present := n.Problem(); err == nil || !present; err, present = n.Problem() {
			if time.Now().After(until) {
				t.Fatalf("%s: no problem is said", name)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if all := n.VIFs(); len(all) != 0 {
			t.Errorf("%s: %+v", name, all)
		}
		cancel()
		<-done
		l.Close()
	}
	n := New(Daemon{"Incus", []string{"/nowhere"}}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	n.Run(ctx)
	if err, present := n.Problem(); err != nil || present {
		t.Errorf("a host without: %v, %v", err, present)
	}
}
