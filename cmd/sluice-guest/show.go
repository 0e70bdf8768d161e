package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"sluice"
	"sluice/guest"
)

// show prints the samples of late. It needs no daemon, only its database.
func show(ctx context.Context, args []string, out, errs io.Writer) error {
	flags := newFlags(errs)
	database := flags.String("database", defaultDatabase, "the database's `file`")
	since := flags.Duration("since", time.Minute, "how far back")
	format := flags.String("o", "text", "text or json (one sample a line)")
	if err := parse(flags, args); err != nil {
		return err
	}
	switch {
	case *format != "text" && *format != "json":
		return invalid("-o %q is no format", *format, "text or json")
	case *since <= 0:
		return invalid("--since %s is not in the past", *since, "10m")
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	print := func(s sluice.Sample) error {
		for _, n := range s.NICs {
			fmt.Fprintf(table, "%s\t  %s\t  %s\t%s\t%s\t\n", s.At.Local().Format("2006-01-02 15:04:05.000"), n.Name, n.MAC, mbit(n.Tx, s.Span), mbit(n.Rx, s.Span))
		}
		return nil
	}
	if *format == "json" {
		print = func(s sluice.Sample) error { return json.NewEncoder(out).Encode(s) }
	} else {
		fmt.Fprintln(table, "at\tinterface\tmac\ttx Mbit/s\trx Mbit/s\t")
	}
	if err := guest.Past(ctx, *database, time.Now().Add(-*since), print); err != nil {
		return err
	}
	return table.Flush()
}

func mbit(c sluice.Counters, span time.Duration) string {
	return fmt.Sprintf("%.3f", float64(c.Bytes)*8/1e6/span.Seconds())
}
