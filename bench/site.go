package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"sluice"
	"sluice/control"
	"sluice/http"
)

// The devices of a site, and the two ends' addresses.
const (
	bridge  = "br0"
	vif     = "tap-vm" // the VM's, on the host
	uplink  = "uplink" // the host's other port
	vmAddr  = "192.0.2.2"
	netAddr = "192.0.2.3"
)

// site is a host with one VM on its bridge, and a machine behind its uplink:
// three network namespaces.
//
//	vm [eth0] -- [tap-vm] host's bridge [uplink] -- [eth0] net
type site struct {
	host, vm, net *space
	dir           string   // for the daemon's state
	config        string   // the daemon's settings file
	more          []string // of its flags
	daemon        *exec.Cmd
	client        *http.Client // of the daemon
	log           bytes.Buffer
}

func newSite() (s *site, err error) {
	s = &site{config: os.DevNull}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return nil, err
	}
	for _, n := range []**space{&s.host, &s.vm, &s.net} {
		if *n, err = newSpace(); err != nil {
			return nil, err
		}
	}
	err = errors.Join(
		s.host.bridge(bridge, ""),
		s.host.port(bridge, vif, s.vm, "eth0", vmAddr+"/24"),
		s.host.port(bridge, uplink, s.net, "eth0", netAddr+"/24"))
	return s, err
}

// end ends the daemon.
func (s *site) end() {
	if s.daemon == nil {
		return
	}
	daemon := s.daemon
	s.daemon = nil
	_ = daemon.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(10*time.Second, func() { _ = daemon.Process.Kill() })
	_ = daemon.Wait()
	kill.Stop()
}

// close ends the daemon and the namespaces.
func (s *site) close() {
	s.end()
	for _, n := range []*space{s.host, s.vm, s.net} {
		if n != nil {
			n.close()
		}
	}
	_ = os.RemoveAll(s.dir)
}

func (s *site) socket() string { return filepath.Join(s.dir, "socket") }

// serve starts the daemon on the host and waits until it answers.
func (s *site) serve(ctx context.Context, b *bench) error {
	flags := []string{"serve", "--socket", s.socket(), "--state-dir", filepath.Join(s.dir, "state"), "--config", s.config, "--bridge", bridge, "--capacity", "100gbit"}
	s.daemon = exec.Command(b.sluice, append(flags, s.more...)...)
	s.daemon.Stderr = &s.log
	if err := s.host.do(s.daemon.Start); err != nil {
		s.daemon = nil
		return err
	}
	s.client = http.NewClient(s.socket())
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		vifs, err := s.client.VIFs(ctx)
		if err == nil && len(vifs) > 0 {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the daemon does not answer: %w\n%s", err, s.log.String())
		}
	}
}

// limit is a request for one limit in both directions.
func limit(vm string, r sluice.Rate) http.ChangeRequest {
	return http.ChangeRequest{VM: vm, Tx: patch(r), Rx: patch(r)}
}

func patch(r sluice.Rate) *control.Patch { return &control.Patch{Limit: &r} }
