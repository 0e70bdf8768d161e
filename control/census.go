package control

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"sluice"
)

// census gives the vifs of an inventory their IDs, and keeps in the store what
// those with settings are known by.
type census struct {
	inventory Inventory
	store     Store

	mu      sync.Mutex
	loaded  bool
	records map[string]sluice.VIF // as they are in the store, by ID
	seen    []sluice.VIF          // what the inventory said last
	present []sluice.VIF          // the same, with IDs
}

// Watch implements [Inventory].
func (s *census) Watch(ctx context.Context) <-chan struct{} { return s.inventory.Watch(ctx) }

// VIFs implements [Inventory], with IDs. A vif that nobody set keeps its ID as
// long as it is there.
func (s *census) VIFs() []sluice.VIF {
	seen := s.inventory.VIFs()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.present != nil && slices.Equal(seen, s.seen) {
		return s.present
	}
	known := maps.Clone(s.records)
	if known == nil {
		known = make(map[string]sluice.VIF, len(s.present))
	}
	for _, v := range s.present {
		known[v.ID] = v
	}
	s.seen, s.present = slices.Clone(seen), identify(known, seen)
	return s.present
}

// load reads the records, once. Who asks before has IDs that may change.
func (s *census) load(ctx context.Context) error {
	s.mu.Lock()
	loaded := s.loaded
	s.mu.Unlock()
	if loaded {
		return nil
	}
	records, err := s.store.Records(ctx)
	if err != nil {
		return err
	}
	nodes, err := s.store.Nodes(ctx)
	if err != nil {
		return err
	}
	for key, n := range nodes {
		if _, group := sluice.GroupOf(key); !group && records[key].ID == "" {
			records[key] = s.remember(ctx, key, n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		s.records, s.loaded, s.present = records, true, nil
	}
	return nil
}

// remember is the record of a vif that an older Sluice set, by its key and by
// what the journal has of it.
func (s *census) remember(ctx context.Context, key string, n Node) sluice.VIF {
	vm, nic, _ := strings.Cut(key, "/")
	r := sluice.VIF{ID: key, VM: vm}
	if c, err := s.store.Change(ctx, n.Change); err == nil && c.Key == key {
		r.VM, r.Index, r.Device = c.VM, c.VIF, c.Device
	}
	if r.VM != vm {
		r.UUID = vm
	}
	if strings.Contains(nic, ":") {
		r.MAC = nic
	}
	return r
}

// keep writes what vifs are known by, where the store does not have it yet.
func (s *census) keep(ctx context.Context, vifs ...sluice.VIF) error {
	s.mu.Lock()
	var fresh []sluice.VIF
	for _, v := range vifs {
		if v.Device == "" { // absent: what it was known by stands
			continue
		}
		v.DeviceIndex, v.Profile = 0, "" // of this boot only
		if !v.IsGroup() && s.records[v.ID] != v {
			fresh = append(fresh, v)
		}
	}
	s.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	if err := s.store.Record(ctx, fresh); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = make(map[string]sluice.VIF)
	}
	for _, v := range fresh {
		s.records[v.ID] = v
	}
	return nil
}

// learnt writes what is new of vifs with settings, and of twins: two VMs with
// one UUID must be told apart also when only one of them is there.
func (s *census) learnt(ctx context.Context, set func(key string) bool) error {
	present := s.VIFs()
	names := make(map[string]string, len(present)) // by UUID
	twins := make(map[string]bool)
	for _, v := range present {
		if name, again := names[v.UUID]; v.UUID != "" && again && name != v.VM {
			twins[v.UUID] = true
		}
		names[v.UUID] = v.VM
	}
	var all []sluice.VIF
	for _, v := range present {
		if set(v.ID) || twins[v.UUID] {
			all = append(all, v)
		}
	}
	return s.keep(ctx, all...)
}

// forget takes a record away that the store has no more.
func (s *census) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, id)
}

// fleeting says whether a record is of a vif that nobody named: when its device
// has gone it cannot come back.
func (s *census) fleeting(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	return ok && r.Nameless()
}

// absent are the vifs that there are records of and that are not present, by
// name and index. They have no device.
func (s *census) absent() []sluice.VIF {
	there := make(map[string]bool)
	for _, v := range s.VIFs() {
		there[v.ID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []sluice.VIF
	for id, r := range s.records {
		if !there[id] {
			r.Device, r.DeviceMAC = "", ""
			all = append(all, r)
		}
	}
	slices.SortFunc(all, byName)
	return all
}

func byName(a, b sluice.VIF) int {
	if n := strings.Compare(a.VM, b.VM); n != 0 {
		return n
	}
	if a.Index != b.Index {
		return a.Index - b.Index
	}
	return strings.Compare(a.Key(), b.Key())
}
