package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"sluice"
	"sluice/control"
	"sluice/etcd"
	"sluice/guest"
	"sluice/http"
	"sluice/linux"
	"sluice/linux/htb"
	"sluice/monitor"
	"sluice/proxmox"
	"sluice/qemu"
	"sluice/web"
	"sluice/xen"
	"sluice/xen/xenstore"
)

const (
	settingsFile    = "/etc/sluice/sluice.toml"
	defaultStateDir = "/var/lib/sluice"
)

func serveCommand(c *client) *cobra.Command {
	var config, listen, stateDir, capacityText string
	var interval time.Duration
	var named []string // bridges
	var verbose bool
	cmd := &cobra.Command{Use: "serve", Short: "the host daemon", Args: cobra.NoArgs, Example: "  sluice serve\n  sluice serve --bridge br0 --capacity 10gbit"}
	f := cmd.Flags()
	f.StringVar(&config, "config", settingsFile, "the settings file; flags win over it")
	f.StringVar(&stateDir, "state-dir", defaultStateDir, "where the store, the journal and the token are")
	f.StringVar(&listen, "listen", "127.0.0.1:8511", "where the page and the API are; \"\" for nowhere")
	f.StringSliceVar(&named, "bridge", nil, "take these bridges' ports as vifs, and no others")
	f.StringVar(&capacityText, "capacity", "", "what the link carries, per direction")
	f.DurationVar(&interval, "interval", time.Second, "between two data sets, 100ms to 60s")
	f.BoolVarP(&verbose, "verbose", "v", false, "log what happens inside, too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		read := func() (settings, error) {
			s, err := readSettings(config, f.Changed("config"))
			for name, set := range map[string]func(){
				"bridge": func() { s.Bridge = named }, "listen": func() { s.Listen = listen }, "state-dir": func() { s.StateDir = stateDir },
				"interval": func() { s.Interval = duration(interval) },
			} {
				if f.Changed(name) {
					set()
				}
			}
			if err == nil && capacityText != "" {
				var r sluice.Rate
				r, err = sluice.ParseRate(capacityText)
				s.Capacity = capacity{Tx: r, Rx: r}
			}
			return s, err
		}
		s, err := read()
		if err != nil {
			return err
		}
		level := slog.LevelInfo
		if verbose {
			level = slog.LevelDebug
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
		return serve(cmd.Context(), s, read, c.socket, log)
	}
	return cmd
}

// serve runs the daemon until ctx ends. The kernel goes on shaping after it.
func serve(ctx context.Context, s settings, read func() (settings, error), socket string, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return &sluice.Error{Code: sluice.Refused, Message: "the daemon changes the kernel's traffic control, which needs root", Unchanged: "nothing was started", Try: "run it as root"}
	}
	collectRarely()
	inherited := activation.Files(true)
	for {
		err := run(ctx, s, read, socket, inherited, log)
		if !errors.Is(err, errRestored) {
			return err
		}
	}
}

// run is the daemon from one start to its end, which is errRestored when it is
// to begin anew.
func run(ctx context.Context, s settings, read func() (settings, error), socket string, inherited []*os.File, log *slog.Logger) error {
	doors, err := open(s, socket, inherited)
	if err != nil {
		return err
	}
	defer func() {
		for _, d := range doors {
			d.Close()
		}
	}()
	if err := os.MkdirAll(s.StateDir, 0o700); err != nil {
		return &sluice.Error{Code: sluice.Unavailable, Message: "the state directory cannot be made", Unchanged: "nothing was started", Err: err}
	}
	if err := checkFormat(s.StateDir, log); err != nil {
		return err
	}
	token, untilKept, err := tokenOf(s.StateDir, log)
	if err != nil {
		return err
	}
	if _, err := etcd.Adopt(storeDir(s.StateDir)); err != nil {
		return err
	}
	store, err := etcd.Open(ctx, storeDir(s.StateDir), log)
	if err != nil {
		return err
	}
	defer store.Close()
	driver, err := htb.New(log, s.Overhead)
	if err != nil {
		return err
	}
	defer driver.Close()
	counters, err := linux.NewCounters(driver)
	if err != nil {
		return err
	}
	defer counters.Close()
	link, err := newLink(ctx, s, store, log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	configured, err := collectors(s)
	if err != nil {
		return err
	}
	names, sources := s.sources(log)
	processes, pve := qemu.New(), proxmox.New(proxmox.Dir)
	channels := newChannels(processes.Collectors, names.Collectors)
	guests := func() map[string]monitor.Guest { return channels.with(configured) }
	options := control.Options{Driver: driver, Store: store, Log: log, Capacity: link.capacity, CapacityWhy: link.reason, PutCapacity: link.put,
		Reserve: s.Reserve, Fault: fault}
	if xen.ControlDomain() {
		xs, err := xenstore.Dial(ctx, "")
		if err != nil {
			return err
		}
		defer xs.Close()
		inventory, err := xen.Open(ctx, xs, log)
		if err != nil {
			return err
		}
		options.Inventory = inventory
		options.Store = &xen.Store{Journal: store, Xenstore: xs, Inventory: inventory, Log: log, Fault: fault}
		options.Driver = &xen.Netback{Store: xs, Inventory: inventory, Shaper: driver}
		found := &xen.Collectors{Store: xs, Inventory: inventory}
		group.Go(func() error { found.Run(ctx); return nil })
		guests = func() map[string]monitor.Guest { return withXen(configured, found.All()) }
	} else {
		var namers []linux.Namer
		for _, one := range sources {
			namers = append(namers, one)
			group.Go(func() error { one.Run(ctx); return nil })
		}
		inventory, err := linux.NewInventory(linux.Sources{Bridges: s.Bridge, Uplink: s.Uplink, Static: s.static(), Namers: append(namers, pve, processes)}, log)
		if err != nil {
			return err
		}
		group.Go(func() error { return inventory.Run(ctx) })
		options.Inventory = inventory
	}
	var watch *monitor.Monitor // asks control what is set, and tells it what is wanted
	options.Demand = func() map[string]sluice.Capacity { return demand(watch.DataSet()) }
	ctl := control.New(options)
	watch, err = monitor.New(monitor.Config{Interval: time.Duration(s.Interval), Capacity: link.capacity, Inventory: ctl,
		Counters: counters, Enforced: driver.Problems, Settings: settled(ctl), Guests: guests, Log: log})
	if err != nil {
		return err
	}
	kept := state{dir: s.StateDir, store: store, log: log, restored: make(chan struct{}, 1)}
	server := &http.Server{State: kept, Control: ctl, Monitor: current{watch, ctl, driver.Problems}, Doctor: prober{driver, sources}, Page: web.Files(), Token: token, Log: log}
	group.Go(func() error { return ctl.Run(ctx) })
	group.Go(func() error { return driver.Run(ctx, func(r sluice.Repair) { ctl.Repaired(ctx, r) }) })
	group.Go(func() error { watch.Run(ctx); return nil })
	group.Go(func() error { link.followSettings(ctx, s, read, ctl); return nil })
	group.Go(func() error { return server.Serve(ctx, doors...) })
	group.Go(func() error { untilKept(ctx, server); return nil })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-kept.restored:
			return errRestored
		}
	})
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	return group.Wait()
}

// open opens the doors: the Unix socket, and a TCP listener that was
// inherited, or is made.
func open(s settings, socket string, inherited []*os.File) (doors []*http.Door, err error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, &sluice.Error{Code: sluice.Unavailable, Message: "the socket's directory cannot be made", Unchanged: "nothing was started", Err: err}
	}
	d, err := http.ListenUnix(socket)
	if err != nil {
		return nil, err
	}
	doors = append(doors, d)
	for _, f := range inherited {
		l, err := net.FileListener(f) // a copy, which is closed with the door
		if err != nil {
			return doors, &sluice.Error{Code: sluice.Unavailable, Message: "the sockets that were handed over cannot be used", Err: err}
		}
		if _, tcp := l.(*net.TCPListener); !tcp {
			l.Close()
			continue
		}
		d, err := http.Adopt(l, s.TLSCert, s.TLSKey)
		if err != nil {
			return doors, err
		}
		doors = append(doors, d)
	}
	if len(doors) == 1 && s.Listen != "" {
		if d, err = http.ListenTCP(s.Listen, s.TLSCert, s.TLSKey); err != nil {
			doors[0].Close()
			return nil, err
		}
		doors = append(doors, d)
	}
	return doors, nil
}

// collectors are the guests that the settings file says how to reach.
func collectors(s settings) (map[string]monitor.Guest, error) {
	guests := make(map[string]monitor.Guest)
	for _, v := range s.VMs {
		if v.Collector == "" {
			continue
		}
		g, err := guest.NewClient(v.Collector)
		if err != nil {
			return nil, err
		}
		name := strings.ToLower(v.UUID)
		if name == "" {
			name = v.Name
		}
		guests[name] = g
	}
	return guests, nil
}

// demand is what vifs wanted at the last tick. TCP offers hardly more than
// passes: so one that is held back wants all that it can get.
func demand(d sluice.DataSet) map[string]sluice.Capacity {
	var sum sluice.Capacity
	for _, v := range d.VIFs {
		sum.Tx, sum.Rx = sum.Tx+v.Tx.Usage, sum.Rx+v.Rx.Usage
	}
	wants := func(s sluice.DirectionStatus, sum, capacity sluice.Rate) sluice.Rate {
		waits := s.Demand > s.Usage+s.Usage/1000
		if waits && (s.Drops > 0 || nearly(s.Usage, s.Limit) || nearly(sum, capacity)) {
			return sluice.Unlimited
		}
		return s.Demand
	}
	all := make(map[string]sluice.Capacity, len(d.VIFs))
	for _, v := range d.VIFs {
		all[v.Key()] = sluice.Capacity{Tx: wants(v.Tx, sum.Tx, d.Capacity.Tx), Rx: wants(v.Rx, sum.Rx, d.Capacity.Rx)}
	}
	return all
}

// nearly says whether a rate is at its bound, within what a tick measures.
func nearly(rate, bound sluice.Rate) bool { return rate >= bound/100*95 }

// withXen adds the guests that tell dom0 by xenstore to those that the
// settings file says how to reach, which are asked as it says.
func withXen(configured map[string]monitor.Guest, found []*xen.Collector) map[string]monitor.Guest {
	all := maps.Clone(configured)
	for _, c := range found {
		if configured[c.UUID] == nil && configured[c.VM] == nil {
			all[c.UUID] = c
		}
	}
	return all
}

// settled tells the monitor what is set, in its words.
func settled(ctl *control.Control) func() map[string]sluice.Setting {
	return func() map[string]sluice.Setting {
		nodes := ctl.Settings()
		all := make(map[string]sluice.Setting, len(nodes))
		for key, n := range nodes {
			all[key] = sluice.Setting{Value: n.Value, State: n.State, Revision: n.Revision}
		}
		return all
	}
}

// prober says what the host can do, and what is not as it was set.
type prober struct {
	driver  *htb.Driver
	sources []source
}

// Check implements [http.Doctor].
func (p prober) Check(ctx context.Context) []sluice.Finding {
	found := linux.Probe(ctx)
	for _, one := range p.sources {
		if err, present := one.Problem(); err != nil {
			found = append(found, sluice.Finding{Name: one.Name(), Detail: fmt.Sprintf("does not answer, so VMs keep the names that are known: %v", err),
				Try: "systemctl status, of " + one.Name()})
		} else if present {
			found = append(found, sluice.Finding{Name: one.Name(), OK: true, Detail: fmt.Sprintf("names %d interfaces of running VMs", len(one.VIFs()))})
		}
	}
	problems := p.driver.Problems()
	for _, key := range slices.Sorted(maps.Keys(problems)) {
		found = append(found, sluice.Finding{Name: "enforced", Detail: key + ": " + problems[key]})
	}
	if len(problems) == 0 {
		found = append(found, sluice.Finding{Name: "enforced", OK: true, Detail: "everything that is set, as of the last look at the kernel"})
	}
	return found
}

// findings are the daemon's, or this program's own where there is none.
func findings(ctx context.Context, c *client) []sluice.Finding {
	found, err := c.daemon().Doctor(ctx)
	if err == nil {
		if os.Geteuid() == 0 && slices.ContainsFunc(found, func(f sluice.Finding) bool { return f.Name == linux.Untried }) {
			// A daemon that is confined cannot try what root can.
			found = slices.DeleteFunc(found, func(f sluice.Finding) bool { return f.Name == linux.Untried || f.Name == "kernel" })
			found = append(linux.Probe(ctx), found...)
		}
		return append(found, sluice.Finding{Name: "daemon", OK: true, Detail: "answers at " + c.socket})
	}
	var told *sluice.Error
	f := sluice.Finding{Name: "daemon", Detail: err.Error()}
	if errors.As(err, &told) {
		f = sluice.Finding{Name: "daemon", Detail: told.Message, Try: told.Try}
	}
	return append(linux.Probe(ctx), f)
}

// clean takes everything of ours out of the kernel.
func clean(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return &sluice.Error{Code: sluice.Refused, Message: "cleaning up needs root", Unchanged: "nothing was removed", Try: "run it as root"}
	}
	if err := htb.CleanUp(ctx); err != nil {
		return err
	}
	fmt.Println("nothing of Sluice's is left in the kernel; settings and journal are kept in the state directory")
	return nil
}
