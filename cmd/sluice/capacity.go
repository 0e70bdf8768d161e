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
	"time"

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
	why    string // who says so
	said   bool   // by sluice capacity
	unread bool   // what was said while the daemon ran last could not be read yet
}

const (
	saidWhy = "sluice capacity said so"
	// followEvery is how often the uplink's speed is looked at: it is not
	// announced by all drivers.
	followEvery = 2 * time.Second
)

// newLink takes what was said while the daemon ran last, else what the
// settings say, else the speed of the uplink.
func newLink(ctx context.Context, s settings, store *etcd.Store, log *slog.Logger) (*link, error) {
	l := &link{store: store, log: log, why: saidWhy}
	var err error
	l.now, l.said, err = store.Capacity(ctx)
	if l.unread = sluice.CodeOf(err) == sluice.Unavailable; err != nil && !l.unread {
		return nil, err
	}
	if l.said {
		log.Info("the link's capacity is what sluice capacity set; SIGHUP reverts to the settings", "tx", l.now.Tx, "rx", l.now.Rx)
		return l, nil
	}
	l.now, l.why = s.capacity()
	if l.now.Tx == sluice.Unlimited || l.now.Rx == sluice.Unlimited {
		log.Info("the link's capacity is not known, so guarantees are not held against it; say it with --capacity", "tx", l.now.Tx, "rx", l.now.Rx, "why", l.why)
	} else {
		log.Info("the link's capacity is known", "tx", l.now.Tx, "rx", l.now.Rx, "why", l.why)
	}
	return l, nil
}

// capacity is what the settings say, and of a direction that they say nothing
// of, what the uplink does; and why.
func (s settings) capacity() (c sluice.Capacity, why string) {
	c = sluice.Capacity(s.Capacity)
	if c.Tx != sluice.Unlimited && c.Rx != sluice.Unlimited {
		return c, "the settings say so"
	}
	if len(s.Bridge) == 0 && s.Uplink == "" {
		return c, "the settings name neither a capacity, nor an uplink or a bridge that has one"
	}
	found, why := linux.UplinkCapacity(s.Bridge, s.Uplink)
	if c.Tx == sluice.Unlimited {
		c.Tx = found.Tx
	}
	if c.Rx == sluice.Unlimited {
		c.Rx = found.Rx
	}
	return c, why
}

func (l *link) capacity() sluice.Capacity {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *link) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// put keeps another capacity over restarts.
func (l *link) put(ctx context.Context, c sluice.Capacity) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.store.SetCapacity(ctx, &c); err != nil {
		return err
	}
	l.now, l.why, l.said = c, saidWhy, true
	return nil
}

// forget has nothing kept over restarts: the capacity is what somebody else says.
func (l *link) forget(ctx context.Context, why string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.store.SetCapacity(ctx, nil); err != nil {
		return err
	}
	l.why, l.said = why, false
	return nil
}

// follow has the link carry what the settings and the uplink say by now, for
// that reason; reserve may be nil.
func (l *link) follow(ctx context.Context, c sluice.Capacity, why string, reserve *int, ctl *control.Control) error {
	_, err := ctl.SetLink(ctx, control.LinkPatch{Tx: &c.Tx, Rx: &c.Rx, Reserve: reserve,
		Then: func(ctx context.Context) error { return l.forget(ctx, why) }}) // before anybody else can set one, which has to be kept
	return err
}

// followSettings reverts to what the settings say at every SIGHUP, and follows
// the uplink's speed.
func (l *link) followSettings(ctx context.Context, s settings, read func() (settings, error), ctl *control.Control) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	look := time.NewTicker(followEvery)
	defer look.Stop()
	opened := l.store.Ready()
	if !l.unread {
		opened = nil
	}
	refused := "" // what was said last of why the uplink's speed does not fit
	for {
		select {
		case <-ctx.Done():
			return
		case <-opened:
			opened = nil
			if err := l.recall(ctx, ctl); err != nil {
				l.log.Error("the capacity that sluice capacity set cannot be read", "error", err)
			}
		case <-look.C:
			c, why := s.capacity()
			l.mu.Lock()
			// An uplink that is down does not say how fast it is: it will be as before.
			silent := c.Tx > l.now.Tx && c.Tx == sluice.Unlimited || c.Rx > l.now.Rx && c.Rx == sluice.Unlimited
			same := l.said || opened != nil || silent || c == l.now
			l.mu.Unlock()
			if same {
				refused = ""
				continue
			}
			err := l.follow(ctx, c, why, nil, ctl)
			switch {
			case err == nil:
				l.log.Info("the link's capacity has changed", "tx", c.Tx, "rx", c.Rx, "why", why)
			case err.Error() != refused:
				refused = err.Error()
				l.log.Warn("the link's capacity has changed, and what was guaranteed is more; nothing was changed", "tx", c.Tx, "rx", c.Rx, "why", why, "error", err)
			}
		case <-hup:
			again, err := read()
			if err == nil {
				c, why := again.capacity()
				err = l.follow(ctx, c, why, &again.Reserve, ctl)
			}
			if err != nil {
				l.log.Error("the settings were read again, and nothing was changed", "error", err)
				continue
			}
			s.Capacity, s.Reserve = again.Capacity, again.Reserve // all else needs a restart
			c := l.capacity()
			l.log.Info("capacity and reserve are what the settings say; all else needs a restart", "tx", c.Tx, "rx", c.Rx, "reserve", s.Reserve, "why", l.reason())
		}
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
		Long: "Show what the host's link carries and what of it is guaranteed; with a RATE, change it, in both directions or in those\n" +
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
				fmt.Fprintln(w, "\tCAPACITY\tGUARANTEED\tRESERVE")
				for _, d := range sluice.Directions {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d %%\n", d, now.Capacity.Get(d), now.Guaranteed.Get(d), now.Reserve)
				}
				if now.Why != "" {
					fmt.Fprintln(w, now.Why)
				}
			})
		}}
	cmd.Flags().StringVar(&tx, "tx", "", "what VMs can send through it together")
	cmd.Flags().StringVar(&rx, "rx", "", "what they can receive")
	return cmd
}
