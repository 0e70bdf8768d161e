package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"sluice"
)

// Daemon is what the experiment asks of the daemon: a vif's limit in both
// directions, and to take a change back.
type Daemon interface {
	Set(ctx context.Context, vm string, vif int, limit sluice.Rate) (sluice.Change, error)
	Undo(ctx context.Context, id uint64) (sluice.Change, error)
}

// Phase is one line of the experiment's table.
type Phase struct {
	What   string         `json:"what"`
	Change *sluice.Change `json:"change,omitempty"`
	Report Report         `json:"report"`
}

// Experiment is what [Lab.Run] found.
type Experiment struct {
	Phases []Phase `json:"phases"`
	Broken int     `json:"broken"` // connections that ended during it, of all services
	Open   int     `json:"open"`   // connections that lived all through it
}

// step is a change of the experiment.
type step struct {
	vm    string
	limit sluice.Rate
	why   string
}

// steps are the three changes: room for the stream, then for the web site,
// then some of it back for the downloads.
func steps() []step {
	return []step{
		{"ftp", 20 * sluice.Mbit, "downloads make room"},
		{"web", 30 * sluice.Mbit, "so do the visitors"},
		{"ftp", 45 * sluice.Mbit, "downloads get what is left over"},
	}
}

// Run repeats the experiment on what is up and loaded: it measures for so
// many seconds, before the first and after each of three changes, and takes
// the changes back at the end, also when it fails.
func (l *Lab) Run(ctx context.Context, d Daemon, settle time.Duration, seconds int) (e Experiment, err error) {
	var done []uint64
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		for i := len(done) - 1; i >= 0; i-- {
			if _, undo := d.Undo(ctx, done[i]); undo != nil {
				err = errors.Join(err, undo)
			}
		}
	}()
	measure := func(what string, c *sluice.Change) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle + time.Duration(seconds)*time.Second):
		}
		r, err := l.Report(ctx, seconds)
		if err == nil {
			e.Phases = append(e.Phases, Phase{what, c, r})
			l.note("%s: ftp %.1f, stream %.1f, web %.1f Mbit/s", what, r.FTP.Rate/1e6, r.Stream.Rate/1e6, r.Web.Rate/1e6)
		}
		return err
	}
	before, err := l.Report(ctx, 1)
	if err != nil {
		return e, err
	}
	if err := measure("before", nil); err != nil {
		return e, err
	}
	for _, s := range steps() {
		c, err := d.Set(ctx, s.vm, 0, s.limit)
		if err != nil {
			return e, err
		}
		done = append(done, c.ID)
		if err := measure(fmt.Sprintf("%s %s: %s", s.vm, s.limit, s.why), &c); err != nil {
			return e, err
		}
	}
	after := e.Phases[len(e.Phases)-1].Report
	e.Open = after.FTP.Open + after.Stream.Open + after.Web.Open
	for _, c := range [][2]Connections{{before.FTP.Connections, after.FTP.Connections}, {before.Stream.Connections, after.Stream.Connections}, {before.Web.Connections, after.Web.Connections}} {
		e.Broken += c[1].Broken - c[0].Broken
	}
	return e, nil
}

// Print writes the experiment's table.
func (e Experiment) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading(t)
	for _, p := range e.Phases {
		took := ""
		if p.Change != nil {
			verified := "NOT verified"
			if p.Change.Verified {
				verified = "verified"
			}
			took = fmt.Sprintf("%s in %.1f ms", verified, float64(p.Change.TookNS)/1e6)
		}
		row(t, p.What, p.Report, took)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d connections were open all through it, %d broke\n", e.Open, e.Broken)
	return err
}

// Print writes the report as the experiment's table has it.
func (r Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading(t)
	row(t, fmt.Sprintf("the last %.0f s", r.Seconds), r, "")
	return t.Flush()
}

func heading(w io.Writer) {
	fmt.Fprintln(w, "\tftp\tstream\t\t\tweb\t\t\tchange")
	fmt.Fprintln(w, "\tMbit/s\tMbit/s\tlate\tlost\tMbit/s\trequests/s\tp99 ms\t")
}

func row(w io.Writer, what string, r Report, change string) {
	share := func(n int) string {
		return fmt.Sprintf("%.1f %%", 100*float64(n)/max(1, float64(r.Stream.Frames+r.Stream.Lost)))
	}
	fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%s\t%s\t%.1f\t%.0f\t%.0f\t%s\n", what, r.FTP.Rate/1e6,
		r.Stream.Rate/1e6, share(r.Stream.Late), share(r.Stream.Lost), r.Web.Rate/1e6, r.Web.Requests, r.Web.P99, change)
}
