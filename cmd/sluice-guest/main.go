// Command sluice-guest is the collector inside a VM: it samples what passes
// the VM's interfaces, keeps it in a database, and answers the host's pulls.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice"
	"sluice/guest"
	"sluice/xen/xenstore"
)

var version = "unknown" // set by the linker

const usage = `Usage: sluice-guest [flags]          sample, keep, answer; ends with SIGTERM
       sluice-guest show [flags]     the samples of late, from the database
       sluice-guest --version

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sluice-guest:", err)
		os.Exit(sluice.CodeOf(err).ExitStatus())
	}
}

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	if len(args) > 0 && args[0] == "show" {
		return show(ctx, args[1:], out, errs)
	}
	c := collector{log: slog.New(slog.NewTextHandler(errs, nil))}
	flags := newFlags(errs)
	flags.DurationVar(&c.interval, "interval", time.Second, "between samples, 100ms to 1m")
	flags.StringVar(&c.database, "database", defaultDatabase, "the database's `file`")
	flags.StringVar(&c.listen, "listen", ":9511", "TCP `address` to answer on; empty for none")
	flags.StringVar(&c.port, "port", "/dev/virtio-ports/sluice.0", "virtio-serial port to answer on; empty for none")
	flags.StringVar(&c.xenstore, "xenstore", xenstore.Device, "where there is such a device, tell Xen's dom0 by it; empty for never")
	flags.DurationVar(&c.limits.MaxAge, "max-age", 24*time.Hour, "how old samples get")
	maxSize := flags.String("max-size", "64M", "how large the database gets, in `bytes`, K, M or G")
	showVersion := flags.Bool("version", false, "print the version and end")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *showVersion {
		fmt.Fprintln(out, "sluice-guest", version)
		return nil
	}
	var err error
	switch c.limits.MaxSize, err = parseSize(*maxSize); {
	case err != nil || c.limits.MaxSize < guest.MinSize:
		return invalid("--max-size %q is not a size a database can have", *maxSize, "1M or more, such as 64M")
	case c.interval < guest.MinInterval || c.interval > guest.MaxInterval:
		return invalid("--interval %s is out of range", c.interval, "100ms to 1m")
	case c.limits.MaxAge < time.Minute || c.limits.MaxAge > 10*365*24*time.Hour:
		return invalid("--max-age %s is out of range", c.limits.MaxAge, "1m or more, such as 24h")
	case c.listen == "" && c.port == "" && c.xenstore == "":
		return invalid("without --listen, --port and --xenstore nobody would know%s", "", "leave one of them as it is")
	}
	return c.run(ctx)
}

const defaultDatabase = "/var/lib/sluice-guest/usage.db"

func newFlags(errs io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("sluice-guest", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprint(errs, usage)
		flags.PrintDefaults()
	}
	return flags
}

// parse is flags.Parse with an error that says what to do, once.
func parse(flags *flag.FlagSet, args []string) error {
	help := flags.Usage
	flags.Usage = func() {}
	said := flags.Output()
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	flags.SetOutput(said)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		return &sluice.Error{Code: sluice.Invalid, Message: err.Error(), Try: "sluice-guest --help"}
	case flags.NArg() > 0:
		return invalid("%q is too much", flags.Arg(0), "sluice-guest --help")
	}
	return nil
}

func invalid(format string, value any, try string) error {
	return &sluice.Error{Code: sluice.Invalid, Message: fmt.Sprintf(format, value), Try: try}
}

// parseSize reads a number of bytes with K, M or G, which are powers of 1024.
func parseSize(text string) (int64, error) {
	shift := 0
	if i := strings.IndexAny(text, "KMG"); i >= 0 && i == len(text)-1 {
		shift = 10 * (1 + strings.IndexByte("KMG", text[i]))
		text = text[:i]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<40>>shift {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	return n << shift, nil
}
