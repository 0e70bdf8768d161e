package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"sluice"
	"sluice/control"
	"sluice/etcd"
	"sluice/linux"
)

// link is what the host's link carries, as long as the daemon runs.
type link struct {
	store *etcd.Store
	log   *slog.Logger

	mu     sync.Mutex
	now    sluice.Capacity
	unread bool // what was said while the daemon ran last could not be read yet
}

// newLink takes what was said while the daemon ran last, else what the
// settings say, else the speed of the uplink.
func newLink(ctx context.Context, s settings, store *etcd.Store, log *slog.Logger) (*link, error) {
	l := &link{store: store, log: log}
	c, said, err := store.Capacity(ctx)
	if l.unread = sluice.CodeOf(err) == sluice.Unavailable; err != nil && !l.unread {
		return nil, err
	}
	if said {
		log.Info("the link's capacity is what sluice capacity set; SIGHUP goes back to the settings", "tx", c.Tx, "rx", c.Rx)
	} else {
		c = s.capacity(log)
	}
	l.now = c
	return l, nil
}

// capacity is what the settings say, and of a direction that they say nothing
// of, what the uplink does.
func (s settings) capacity(log *slog.Logger) sluice.Capacity {
	c := sluice.Capacity(s.Capacity)
	if c.Tx != sluice.Unlimited && c.Rx != sluice.Unlimited || s.Bridge == "" && s.Uplink == "" {
		return c
	}
	found, why := linux.UplinkCapacity(s.Bridge, s.Uplink)
	if found.Tx == sluice.Unlimited {
		log.Info("the link's capacity is not known, so guarantees are not held against it; say it with --capacity", "tx", c.Tx, "rx", c.Rx, "why", why)
		return c
	}
	if c.Tx == sluice.Unlimited {
		c.Tx = found.Tx
	}
	if c.Rx == sluice.Unlimited {
		c.Rx = found.Rx
	}
	log.Info("the link's capacity was found", "tx", c.Tx, "rx", c.Rx, "why", why)
	return c
}

func (l *link) capacity() sluice.Capacity {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// put keeps another capacity over restarts.
func (l *link) put(ctx context.Context, c sluice.Capacity) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.store.SetCapacity(ctx, &c); err != nil {
		return err
	}
	l.now = c
	return nil
}

// followSettings goes back to what the settings say at every SIGHUP.
func (l *link) followSettings(ctx context.Context, read func() (settings, error), ctl *control.Control) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	opened := l.store.Ready()
	if !l.unread {
		opened = nil
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-opened:
			opened = nil
			if err := l.recall(ctx, ctl); err != nil {
				l.log.Error("the capacity that sluice capacity set cannot be read", "error", err)
			}
			continue
		case <-hup:
		}
		s, err := read()
		if err == nil {
			c := s.capacity(l.log)
			// Forgotten before anybody else can set one, which has to be kept.
			forget := func(ctx context.Context) error { return l.store.SetCapacity(ctx, nil) }
			_, err = ctl.SetLink(ctx, control.LinkPatch{Tx: &c.Tx, Rx: &c.Rx, Reserve: &s.Reserve, Then: forget})
		}
		if err != nil {
			l.log.Error("the settings were read again, and nothing was changed", "error", err)
			continue
		}
		c := l.capacity()
		l.log.Info("capacity and reserve are what the settings say; all else needs a restart", "tx", c.Tx, "rx", c.Rx, "reserve", s.Reserve)
	}
}

// recall takes what was said while the daemon ran last from a store that
// could not be opened at the start.
func (l *link) recall(ctx context.Context, ctl *control.Control) error {
	c, said, err := l.store.Capacity(ctx)
	if err != nil || !said {
		return err
	}
	_, err = ctl.SetLink(ctx, control.LinkPatch{Tx: &c.Tx, Rx: &c.Rx})
	return err
}

func capacityCommand(c *client) *cobra.Command {
	var tx, rx string
	cmd := &cobra.Command{Use: "capacity [RATE]", Short: "what the host's link carries, shown or changed live", Args: cobra.MaximumNArgs(1),
		Long: "Show what the host's link carries and what of it is promised; with a RATE, change it, in both directions or in those\n" +
			"named by --tx and --rx. It holds over restarts, until the daemon gets a SIGHUP and reads its settings again.",
		Example: "  sluice capacity\n  sluice capacity 10gbit\n  sluice capacity --tx 1gbit --rx 10gbit",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if tx != "" || rx != "" {
					return &sluice.Error{Code: sluice.Invalid, Message: "RATE is for both directions", Unchanged: "nothing was changed", Try: "either RATE, or --tx RATE --rx RATE"}
				}
				tx, rx = args[0], args[0]
			}
			// The daemon is told only what is to change: another client may be
			// changing the other direction.
			var to [2]*sluice.Rate
			for i, text := range []string{tx, rx} {
				if text == "" {
					continue
				}
				r, err := sluice.ParseRate(text)
				if err != nil {
					return err
				}
				to[i] = &r
			}
			daemon := c.daemon()
			var now sluice.Link
			var err error
			if tx != "" || rx != "" {
				now, err = daemon.PatchCapacity(cmd.Context(), to[0], to[1])
			} else {
				now, err = daemon.Link(cmd.Context())
			}
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), now, func(w io.Writer) {
				fmt.Fprintln(w, "\tCAPACITY\tPROMISED\tRESERVE")
				for _, d := range sluice.Directions {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d %%\n", d, now.Capacity.Get(d), now.Promised.Get(d), now.Reserve)
				}
			})
		}}
	cmd.Flags().StringVar(&tx, "tx", "", "what VMs can send through it together")
	cmd.Flags().StringVar(&rx, "rx", "", "what they can receive")
	return cmd
}
