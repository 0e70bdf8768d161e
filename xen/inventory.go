package xen

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice"
	"sluice/broadcast"
	"sluice/xen/xenstore"
)

const (
	debounce   = 10 * time.Millisecond // a vif is several nodes, written one after another
	retryAfter = time.Second
)

// Inventory knows a host's vifs from xenstore, live. A vif is listed while its
// back-end is connected to a guest.
//
// Identity is the domain's UUID and the vif's MAC, so settings come back after
// a reboot, save and restore, a new plug or a new name, all of which keep
// both. xl destroy and create keeps them only if the VM's file says uuid= and
// mac=; else it is another VM.
type Inventory struct {
	store   *xenstore.Client
	log     *slog.Logger
	changes broadcast.Hub[struct{}]

	mu      sync.Mutex
	domains map[int][]Interface
}

// Open reads the inventory and keeps it up to date until ctx ends.
func Open(ctx context.Context, store *xenstore.Client, log *slog.Logger) (*Inventory, error) {
	i := &Inventory{store: store, log: log, domains: make(map[int][]Interface)}
	var events []<-chan string
	// A name is written in the domain's own folder, amid much that guests
	// write; xl also writes it in /vm, which is quieter.
	for _, path := range []string{backends, "@introduceDomain", "@releaseDomain", "/vm"} {
		e, err := store.Watch(ctx, path)
		if err != nil {
			return nil, unanswered(err)
		}
		events = append(events, e)
	}
	if err := i.refresh(ctx, nil); err != nil {
		return nil, err
	}
	go i.follow(ctx, events[0], merge(ctx, events[1:]...))
	return i, nil
}

// VIFs returns every vif present, by VM name and index. Where two domains are
// one VM, as during a migration to the same host, it is the newer one.
func (i *Inventory) VIFs() []sluice.VIF {
	newest := make(map[string]Interface)
	for _, one := range i.Interfaces() {
		if key := one.Key(); one.present() && newest[key].Domain <= one.Domain {
			newest[key] = one
		}
	}
	all := make([]sluice.VIF, 0, len(newest))
	for _, one := range newest {
		all = append(all, one.VIF)
	}
	slices.SortFunc(all, func(a, b sluice.VIF) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Key(), b.Key()))
	})
	return all
}

// Interfaces returns all that xenstore says of every vif, also of those whose
// guest is not connected, by domain and index.
func (i *Inventory) Interfaces() []Interface {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []Interface
	for _, some := range i.domains {
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b Interface) int { return cmp.Or(a.Domain-b.Domain, a.Index-b.Index) })
	return all
}

// find returns the vif with that key that is present.
func (i *Inventory) find(key string) (Interface, bool) {
	var found Interface
	for _, one := range i.Interfaces() {
		if one.Key() == key && one.present() {
			found = one // the newest domain comes last
		}
	}
	return found, found.Backend != ""
}

// Watch sends after every change of VIFs until ctx ends, then closes the
// channel. A slow reader misses repetitions, never the last change.
func (i *Inventory) Watch(ctx context.Context) <-chan struct{} { return i.changes.Watch(ctx, 1) }

// follow reads again what events point to.
func (i *Inventory) follow(ctx context.Context, backs, others <-chan string) {
	var due <-chan time.Time
	dirty := make(map[int]bool)
	everything := false
	for {
		select {
		case path, ok := <-backs:
			if !ok {
				return
			}
			if strings.Contains(path, "/sluice/") {
				continue // a value of ours
			}
			if domain, ok := domainOf(path); ok {
				dirty[domain] = true
			} else {
				everything = true
			}
		case _, ok := <-others:
			if !ok {
				return
			}
			everything = true
		case <-due:
			due = nil
			which := dirty
			if everything {
				which = nil
			}
			if err := i.refresh(ctx, which); err != nil {
				if ctx.Err() != nil {
					return
				}
				i.log.Warn("the inventory could not be read; trying again", "error", err)
				everything, due = true, time.After(retryAfter)
				continue
			}
			dirty, everything = make(map[int]bool), false
			continue
		}
		if due == nil {
			due = time.After(debounce)
		}
	}
}

// domainOf is the domain whose back-end a path is about.
func domainOf(path string) (int, bool) {
	rest, ok := strings.CutPrefix(path, backends+"/")
	head, _, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(head, 10, 16)
	return int(n), ok && err == nil
}

// refresh reads some domains, or all if some is nil, and tells the watchers if
// that changes what they would see.
func (i *Inventory) refresh(ctx context.Context, some map[int]bool) error {
	all := some == nil
	if all {
		some = make(map[int]bool)
		names, err := listOptional(ctx, i.store.View, backends)
		if err != nil {
			return unanswered(err)
		}
		for _, name := range names {
			if n, err := strconv.ParseUint(name, 10, 16); err == nil {
				some[int(n)] = true
			}
		}
	}
	read := make(map[int][]Interface)
	for domain := range some {
		found, err := readDomain(ctx, i.store.View, domain)
		if err != nil {
			return unanswered(err)
		}
		read[domain] = found
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	changed := false
	for domain, before := range i.domains {
		if _, ok := read[domain]; !ok && all {
			changed = changed || len(before) > 0
			delete(i.domains, domain)
		}
	}
	for domain, now := range read {
		changed = changed || !slices.EqualFunc(i.domains[domain], now, alike)
		i.domains[domain] = now
		if len(now) == 0 {
			delete(i.domains, domain)
		}
	}
	if changed {
		i.changes.Send(struct{}{})
	}
	return nil
}

// alike reports whether nothing changed that calls for settings to be applied.
func alike(a, b Interface) bool {
	return a.VIF == b.VIF && a.Queues == b.Queues && a.present() == b.present()
}

func listOptional(ctx context.Context, v xenstore.View, path string) ([]string, error) {
	names, err := v.List(ctx, path)
	if errors.Is(err, xenstore.ErrNotFound) {
		return nil, nil
	}
	return names, err
}

// merge sends what any of the channels sends, until ctx or one of them ends.
func merge(ctx context.Context, all ...<-chan string) <-chan string {
	out := make(chan string)
	var senders sync.WaitGroup
	for _, in := range all {
		senders.Go(func() {
			for path := range in {
				select {
				case out <- path:
				case <-ctx.Done():
				}
			}
		})
	}
	go func() { senders.Wait(); close(out) }()
	return out
}
