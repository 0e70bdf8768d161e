package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/control"
	"sluice/http"
	"sluice/lab"
)

func labCommand(c *client) *cobra.Command {
	l := &lab.Lab{Dir: "/run/sluice-lab"}
	cmd := &cobra.Command{Use: "lab", Short: "the experiment: three real VMs, loaded by real clients", Example: "  sluice lab up --load"}
	cmd.PersistentFlags().StringVar(&l.Cache, "cache", "/var/cache/sluice-lab", "where what the VMs boot from is kept")
	prepare := func(cmd *cobra.Command) (err error) {
		l.Out = cmd.OutOrStdout()
		if c.output == "json" {
			l.Out = cmd.ErrOrStderr()
		}
		if l.Program, err = os.Executable(); err != nil {
			return &sluice.Error{Code: sluice.Internal, Message: "this program cannot find itself", Err: err}
		}
		return nil
	}

	var load bool
	up := &cobra.Command{Use: "up", Short: "make it, and take it away on Ctrl-C or lab down", Args: cobra.NoArgs, Example: "  sluice lab up",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd); err != nil {
				return err
			}
			return l.Up(cmd.Context(), func(ctx context.Context, url string) error {
				if load {
					go l.Load(ctx)
				}
				hints(cmd.OutOrStdout(), l, url)
				return nil
			})
		}}
	up.Flags().BoolVar(&load, "load", false, "load it too")

	down := &cobra.Command{Use: "down", Short: "take it away; what the VMs boot from is kept", Args: cobra.NoArgs, Example: "  sluice lab down",
		RunE: func(cmd *cobra.Command, _ []string) error { return l.Down(cmd.Context()) }}

	loads := &cobra.Command{Use: "load", Short: "load the services of the one that is up, until Ctrl-C", Args: cobra.NoArgs, Example: "  sluice lab load",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd); err != nil {
				return err
			}
			return l.Load(cmd.Context())
		}}

	status := &cobra.Command{Use: "status", Short: "what its users get", Args: cobra.NoArgs, Example: "  sluice lab status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, err := l.URL()
			if err != nil {
				return err
			}
			r, err := l.Report(cmd.Context(), 5)
			if err != nil {
				return err
			}
			if c.output == "text" {
				hints(cmd.OutOrStdout(), l, url)
			}
			return c.print(cmd.OutOrStdout(), r, func(w io.Writer) {
				_ = r.Print(w)
			})
		}}

	var settle time.Duration
	var seconds int
	run := &cobra.Command{Use: "run", Short: "repeat the experiment: three changes, and what they do to each service", Args: cobra.NoArgs, Example: "  sluice lab run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := prepare(cmd); err != nil {
				return err
			}
			if seconds < 1 || seconds > 120 {
				return &sluice.Error{Code: sluice.Invalid, Message: "--seconds is from 1 to 120", Unchanged: "nothing was started"}
			}
			experiment := func(ctx context.Context) error {
				e, err := l.Run(ctx, setter{http.NewClient(l.Socket())}, settle, seconds)
				if err != nil {
					return err
				}
				return c.print(cmd.OutOrStdout(), e, func(w io.Writer) { _ = e.Print(w) })
			}
			if _, err := l.Report(cmd.Context(), 1); err == nil {
				return experiment(cmd.Context())
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if _, err := l.URL(); err == nil { // up, but idle
				go l.Load(ctx)
				if err := loaded(ctx, l); err != nil {
					return err
				}
				return experiment(ctx)
			}
			return l.Up(ctx, func(ctx context.Context, _ string) error {
				defer cancel()
				go l.Load(ctx)
				if err := loaded(ctx, l); err != nil {
					return err
				}
				return experiment(ctx)
			})
		}}
	run.Flags().DurationVar(&settle, "settle", 3*time.Second, "left out after each change")
	run.Flags().IntVar(&seconds, "seconds", 10, "measured after each change")

	cmd.AddCommand(up, down, loads, status, run)
	return cmd
}

// loaded waits until every client has its connection.
func loaded(ctx context.Context, l *lab.Lab) error {
	for {
		r, err := l.Report(ctx, 2)
		if err == nil && r.FTP.Rate > 0 && r.Stream.Frames > 0 && r.Web.Requests > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// hints say what to open and what to type.
func hints(w io.Writer, l *lab.Lab, url string) {
	fmt.Fprintf(w, `
  open   %s
  type   export SLUICE_SOCKET=%s
         bin/sluice list
         bin/sluice set ftp 0 20mbit
         bin/sluice changes
         bin/sluice undo 1
         bin/sluice lab run          # the experiment by itself, with its table
  see    ip netns exec sluice-lab tc -s class show dev sluice-tx
  end    Ctrl-C, or make demo-down

`, url, l.Socket())
}

// setter is the daemon as the experiment asks it.
type setter struct{ *http.Client }

// Set implements [lab.Daemon].
func (s setter) Set(ctx context.Context, vm string, vif int, limit sluice.Rate) (sluice.Change, error) {
	p := &control.Patch{Limit: &limit}
	return s.Client.Set(ctx, http.ChangeRequest{VM: vm, VIF: vif, Tx: p, Rx: p})
}
