package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"sluice"
)

// Load loads the three services of the experiment that is up, until ctx ends.
// Who wants to know how their users fare asks [Lab.Report]. Conflict: somebody
// loads them already.
func (l *Lab) Load(ctx context.Context) error {
	if _, err := l.Report(ctx, 1); err == nil {
		return &sluice.Error{Code: sluice.Conflict, Message: "the experiment is being loaded already", Unchanged: "nothing was started", Try: "sluice lab status"}
	}
	ns, err := namespace(clientsNS)
	if err != nil {
		return notUp(err)
	}
	defer ns.Close()
	_ = os.Remove(l.path("load.sock"))
	listener, err := net.Listen("unix", l.path("load.sock"))
	if err != nil {
		return notUp(err)
	}
	c := &clients{meter: &meter{}, log: l.note, dial: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		d := net.Dialer{Timeout: patience}
		err = within(ns, func() error { conn, err = d.DialContext(ctx, network, address); return err })
		return conn, err
	}}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(c.meter.answer)}
	go server.Serve(listener)
	defer server.Close()

	var all sync.WaitGroup
	run := func(n int, what string, f func(context.Context) error) {
		for i := range n {
			all.Go(func() { c.keep(ctx, fmt.Sprintf("%s %d", what, i+1), f) })
		}
	}
	at := addresses()
	run(1, "publisher", func(ctx context.Context) error { return c.publish(ctx, at["stream"]+":1935") })
	run(players, "player", func(ctx context.Context) error { return c.play(ctx, at["stream"]+":1935") })
	run(downloads, "download", func(ctx context.Context) error { return c.download(ctx, at["ftp"]+":21") })
	run(visitors, "visitor", func(ctx context.Context) error { return c.visit(ctx, "http://"+at["web"]+"/page") })
	all.Wait()
	return nil
}

// answer tells the last seconds as JSON.
func (m *meter) answer(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || n < 1 || n > int(remembered.Seconds()) {
		http.Error(w, "seconds is from 1 to "+strconv.Itoa(int(remembered.Seconds())), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m.report(n))
}

// Report is what the services' users had in the last seconds, up to 180.
// Unavailable: nobody loads them.
func (l *Lab) Report(ctx context.Context, seconds int) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", l.path("load.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://load/?seconds="+strconv.Itoa(seconds), nil)
	if err != nil {
		return r, err
	}
	answer, err := client.Do(req)
	if err != nil {
		return r, &sluice.Error{Code: sluice.Unavailable, Message: "nobody loads the experiment", Try: "sluice lab load", Err: err}
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return r, &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf("no report of %d seconds: %s", seconds, answer.Status)}
	}
	err = json.NewDecoder(answer.Body).Decode(&r)
	return r, err
}

func notUp(err error) error {
	return &sluice.Error{Code: sluice.Unavailable, Message: "the experiment is not up", Unchanged: "nothing was started", Try: "sluice lab up", Err: err}
}
