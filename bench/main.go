// Bench measures what Sluice claims, each figure beside its peer in the
// same run, in network namespaces of its own, and keeps the table in
// bench/results.md. It needs root, bin/sluice (make build), and of Debian
// iproute2 and containernetworking-plugins. docs/performance.md says what
// each figure is.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// figure is one thing that is measured.
type figure struct {
	name    string
	measure func(context.Context, *bench) (Result, error)
}

// figures are all there are, in the table's order. A new one is a file and a line.
var figures = []figure{
	{"accuracy", accuracy},
	{"changes", changes},
	{"latency", latency},
	{"state", state},
	{"throughput", throughput},
	{"scale", scale},
	{"contention", contention},
	{"neighbour", neighbour},
	{"weights", weights},
	{"newcomers", newcomers},
	{"churn", churn},
	{"cost", cost},
	{"wire", onTheWire},
	{"page", page},
}

// bench is what every figure needs to know.
type bench struct {
	sluice   string        // the program
	short    bool          // less of everything: does it work?
	patience time.Duration // how long to wait for a quiet machine
}

// say tells who waits how far it is.
func (*bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

func main() {
	if ok, err := end(os.Args); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	only := flag.String("only", "", "measure these figures, comma-separated; the others keep their last results")
	short := flag.Bool("short", false, "less of everything, to see whether it works; nothing is kept")
	program := flag.String("sluice", "bin/sluice", "the program to measure")
	patience := flag.Duration("wait", time.Minute, "how long to wait for a quiet machine before each figure")
	out := flag.String("out", "bench", "the folder for results.json, results.md and plots/")
	readme := flag.String("readme", "", "put the table into this file too, between its two marks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &bench{*program, *short, *patience}, *only, *out, *readme); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, only, out, readme string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("it makes network namespaces, which needs root")
	}
	if _, err := os.Stat(b.sluice); err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	asked, err := choose(only)
	if err != nil {
		return err
	}
	results, err := readResults(out)
	if err != nil {
		return err
	}
	for _, f := range asked {
		busy, err := b.quiet(ctx)
		if err != nil {
			return err
		}
		b.say("%s ...", f.name)
		begin := time.Now()
		before, err := readTimes()
		if err != nil {
			return err
		}
		r, err := f.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		after, err := readTimes()
		if err != nil {
			return err
		}
		r.Stolen = after.since(before).stolen
		r.Name, r.At, r.Machine, r.Busy, r.Seconds = f.name, begin.UTC().Truncate(time.Second), machine(), busy, int(time.Since(begin).Seconds())
		for _, row := range r.Rows {
			b.say("%s: %s; bar %s; %s", row.Figure, row.Sluice, row.Bar, row.Beside)
		}
		results.put(r)
		if !b.short { // at once: a later figure may fail
			if err := results.write(out, readme); err != nil {
				return err
			}
		}
	}
	if b.short {
		fmt.Print(results.markdown())
		return nil
	}
	fmt.Print(results.table())
	return nil
}

// choose finds the figures that were asked for; "" is all.
func choose(names string) ([]figure, error) {
	if names == "" {
		return figures, nil
	}
	var asked []figure
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
		if i < 0 {
			var all []string
			for _, f := range figures {
				all = append(all, f.name)
			}
			return nil, fmt.Errorf("there is no figure %q, only %s", name, strings.Join(all, ", "))
		}
		asked = append(asked, figures[i])
	}
	return asked, nil
}
