package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"sluice"
	"sluice/guest"
)

// collector is the daemon.
type collector struct {
	interval               time.Duration
	database, listen, port string
	xenstore               string
	limits                 guest.Limits
	log                    *slog.Logger
}

// run collects and answers until ctx ends.
func (c *collector) run(ctx context.Context) error {
	// Small before fast: it lives in every VM.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(12 << 20)
	runtime.GOMAXPROCS(1)

	reader := guest.NewReader()
	if err := reader.Check(); err != nil {
		return err
	}
	keeper, err := guest.Open(c.database, c.limits, c.log)
	if err != nil {
		return err
	}
	defer keeper.Close()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	failed := make(chan error, 1)
	if c.listen != "" {
		listener, err := net.Listen("tcp", c.listen)
		if err != nil {
			return &sluice.Error{Code: sluice.Unavailable, Message: "cannot listen on " + c.listen, Try: "another --listen, or an empty one for the virtio-serial port alone", Err: err}
		}
		server := guest.NewServer(keeper, c.log)
		defer server.Close()
		c.log.Info("answering", "address", listener.Addr().String())
		running.Go(func() {
			if err := server.Serve(guest.Few(listener)); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	if c.port != "" {
		port := guest.Port{Path: c.port, Keeper: keeper, Log: c.log}
		running.Go(func() { port.Serve(ctx) })
	}
	keep := keeper.Keep
	if _, err := os.Stat(c.xenstore); c.xenstore != "" && err == nil {
		newest := make(chan sluice.Sample, 1)
		running.Go(func() { c.tellXen(ctx, newest) })
		keep = func(s sluice.Sample) { keeper.Keep(s); offer(newest, s) }
	}
	running.Go(func() { guest.Sample(ctx, reader, c.interval, c.log, keep) })
	daemon.SdNotify(false, daemon.SdNotifyReady)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		daemon.SdNotify(false, daemon.SdNotifyStopping)
		return nil
	}
}
