package etcd

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice"
	"sluice/control"
)

var _ control.Store = (*Store)(nil)

// Get implements [control.Store].
func (s *Store) Get(ctx context.Context, key string) (control.Node, error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return s.recallOne(key, err)
	}
	defer done()
	r, err := m.client.Get(ctx, vifKey(key))
	if err != nil && m.alive.Err() != nil { // it failed while it was asked
		return s.recallOne(key, s.unanswered(m, err))
	}
	if err != nil {
		return control.Node{}, s.unanswered(m, err)
	}
	if len(r.Kvs) == 0 {
		return control.Node{Value: sluice.UnshapedBoth, State: sluice.Connected}, nil
	}
	return decodeNode(key, r.Kvs[0].Value, r.Kvs[0].ModRevision)
}

// recallOne is Get where no member serves, for the reason err.
func (s *Store) recallOne(key string, err error) (control.Node, error) {
	known, ok := s.recall()
	if !ok {
		return control.Node{}, err
	}
	n, ok := known[key]
	if !ok {
		return control.Node{Value: sluice.UnshapedBoth, State: sluice.Connected}, nil
	}
	return n, nil
}

// Nodes implements [control.Store]. Like Watch, it passes over a damaged
// record: one must not stand in everybody's way.
func (s *Store) Nodes(ctx context.Context) (map[string]control.Node, error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		if known, ok := s.recall(); ok {
			return known, nil
		}
		return nil, err
	}
	defer done()
	r, err := m.client.Get(ctx, vifPrefix, clientv3.WithPrefix())
	if err != nil {
		if known, ok := s.recall(); ok && m.alive.Err() != nil { // it failed while it was asked
			return known, nil
		}
		return nil, s.unanswered(m, err)
	}
	nodes := make(map[string]control.Node, len(r.Kvs))
	for _, kv := range r.Kvs {
		u, err := update(kv)
		if err != nil {
			s.log.Warn("skipping a vif's settings", "error", err)
			continue
		}
		nodes[u.Key] = u.Node
	}
	return nodes, nil
}

// Begin implements [control.Store].
func (s *Store) Begin(ctx context.Context, c *sluice.Change, seen control.Node) error {
	c.ID = 0
	if seen.State != sluice.Connected {
		return conflict(c)
	}
	var next control.Node
	revision, err := s.journal(ctx, c, asSeen(c.Key, seen), func() []clientv3.Op {
		next = control.Node{Value: c.To, State: sluice.Reconfiguring, Change: c.ID, Lease: seen.Lease}
		return []clientv3.Op{clientv3.OpPut(vifKey(c.Key), encodeNode(next))}
	})
	if err != nil {
		return err
	}
	next.Revision = revision
	s.remember(c.Key, next)
	return nil
}

// Note implements [control.Store].
func (s *Store) Note(ctx context.Context, c *sluice.Change) error {
	_, err := s.journal(ctx, c, nil, func() []clientv3.Op { return nil })
	return err
}

// asSeen is that a vif's node is still as it was seen.
func asSeen(key string, seen control.Node) []clientv3.Cmp {
	return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(vifKey(key)), "=", int64(seen.Revision))}
}

// journal gives c its ID, journals it and does what with says for that ID, all
// or nothing, if all of ifs hold: else it fails with Conflict. It returns the revision that
// the store has then. An error that leaves c.ID 0 has written nothing.
func (s *Store) journal(ctx context.Context, c *sluice.Change, ifs []clientv3.Cmp, with func() []clientv3.Op) (revision uint64, err error) {
	c.ID = 0
	if err := s.room(); err != nil {
		return 0, err
	}
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	for {
		c.ID = s.lastID.Add(1)
		unused := clientv3.Compare(clientv3.CreateRevision(changeKey(c.ID)), "=", 0)
		r, err := m.client.Txn(ctx).
			If(append(slices.Clone(ifs), unused)...).
			Then(append(with(), clientv3.OpPut(changeKey(c.ID), encode(c)))...).
			Else(clientv3.OpGet(changeKey(c.ID), clientv3.WithCountOnly())).
			Commit()
		switch {
		case err != nil:
			return 0, s.unanswered(m, err)
		case r.Succeeded:
			return uint64(r.Header.Revision), nil
		case r.Responses[0].GetResponseRange().Count == 0:
			c.ID = 0
			return 0, conflict(c)
		}
		if err := s.passTaken(ctx, m, c.ID); err != nil {
			c.ID = 0
			return 0, err
		}
	}
}

// Records implements [control.Store]. It passes over a damaged one, as Nodes does.
func (s *Store) Records(ctx context.Context) (map[string]sluice.VIF, error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := m.client.Get(ctx, knownPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, s.unanswered(m, err)
	}
	all := make(map[string]sluice.VIF, len(r.Kvs))
	for _, kv := range r.Kvs {
		v, err := decodeKnown(kv.Key, kv.Value)
		if err != nil {
			s.log.Warn("skipping what a vif is known by", "error", err)
			continue
		}
		all[v.ID] = v
	}
	return all, nil
}

// recordsAtOnce is as many as etcd writes in one transaction, less some.
const recordsAtOnce = 100

// Record implements [control.Store].
func (s *Store) Record(ctx context.Context, vifs []sluice.VIF) error {
	if err := s.room(); err != nil {
		return err
	}
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return err
	}
	defer done()
	for some := range slices.Chunk(vifs, recordsAtOnce) {
		puts := make([]clientv3.Op, len(some))
		for i, v := range some {
			puts[i] = clientv3.OpPut(knownPrefix+v.ID, encode(knownOf(v)))
		}
		if _, err := m.client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return s.unanswered(m, err)
		}
	}
	return nil
}

// Forget implements [control.Store].
func (s *Store) Forget(ctx context.Context, c *sluice.Change, seen control.Node) error {
	_, err := s.journal(ctx, c, asSeen(c.Key, seen), func() []clientv3.Op {
		return []clientv3.Op{clientv3.OpDelete(vifKey(c.Key)), clientv3.OpDelete(knownPrefix + c.Key)}
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.known, c.Key)
	s.mu.Unlock()
	return nil
}

// passTaken has the next ID come after the journal's last, where another writer
// of the same store took one.
func (s *Store) passTaken(ctx context.Context, m *member, id uint64) error {
	last, err := s.newestID(ctx, m)
	if err != nil {
		return err
	}
	s.lastID.CompareAndSwap(id, max(last, id))
	return nil
}

// Finish implements [control.Store].
func (s *Store) Finish(ctx context.Context, c sluice.Change, seen control.Node) error {
	if seen.State != sluice.Reconfiguring || seen.Change != c.ID {
		return conflict(&c)
	}
	if err := s.write(ctx, c, seen, seen.After(c)); err != nil {
		return err
	}
	if c.ID%tidyEvery == 0 {
		select {
		case s.tidy <- struct{}{}:
		default:
		}
	}
	return nil
}

// Keep implements [control.Store].
func (s *Store) Keep(ctx context.Context, c sluice.Change, seen control.Node) error {
	next := seen
	next.Lease = control.Lease{}
	if err := s.room(); err != nil {
		return err
	}
	return s.write(ctx, c, seen, next)
}

// writeWait is how long the end of a change waits for the next member: a
// planned start takes a third of a second.
const writeWait = 2 * time.Second

// write writes a node and a change, if the node is still as it was seen.
func (s *Store) write(ctx context.Context, c sluice.Change, seen, next control.Node) error {
	m, bound, done, err := s.ask(ctx)
	for until := time.Now().Add(writeWait); err != nil && time.Now().Before(until) && ctx.Err() == nil && s.closing.Err() == nil; {
		time.Sleep(10 * time.Millisecond)
		m, bound, done, err = s.ask(ctx)
	}
	if err != nil {
		return err
	}
	defer done()
	r, err := m.client.Txn(bound).
		If(asSeen(c.Key, seen)...).
		Then(clientv3.OpPut(vifKey(c.Key), encodeNode(next)), clientv3.OpPut(changeKey(c.ID), encode(c))).
		Commit()
	if err != nil {
		return s.unanswered(m, err)
	}
	if !r.Succeeded {
		return conflict(&c)
	}
	next.Revision = uint64(r.Header.Revision)
	s.remember(c.Key, next)
	return nil
}

func conflict(c *sluice.Change) error {
	return &sluice.Error{Code: sluice.Conflict,
		Message: fmt.Sprintf("the settings of %s vif %d were changed in between", c.VM, c.VIF), Try: "look, and ask again"}
}

// Change implements [control.Store].
func (s *Store) Change(ctx context.Context, id uint64) (sluice.Change, error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return sluice.Change{}, err
	}
	defer done()
	r, err := m.client.Get(ctx, changeKey(id))
	if err != nil {
		return sluice.Change{}, s.unanswered(m, err)
	}
	if len(r.Kvs) == 0 {
		return sluice.Change{}, &sluice.Error{Code: sluice.NotFound, Message: fmt.Sprintf("there is no change %d in the journal", id),
			Try: "sluice changes, which lists them"}
	}
	return decodeChange(changeKey(id), r.Kvs[0].Value)
}

// Changes implements [control.Store].
func (s *Store) Changes(ctx context.Context, limit int) ([]sluice.Change, error) {
	if limit <= 0 {
		return []sluice.Change{}, nil
	}
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	r, err := m.client.Get(ctx, changePrefix, newestFirst, clientv3.WithPrefix(), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, s.unanswered(m, err)
	}
	changes := make([]sluice.Change, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		c, err := decodeChange(string(kv.Key), kv.Value)
		if err != nil {
			// One damaged record must not hide the others.
			s.log.Warn("skipping a journal record", "error", err)
			continue
		}
		changes = append(changes, c)
	}
	return changes, nil
}

var newestFirst = clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)

// newestID is the highest ID in the journal, 0 if it is empty.
func (s *Store) newestID(ctx context.Context, m *member) (uint64, error) {
	r, err := m.client.Get(ctx, changePrefix, newestFirst, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return 0, s.unanswered(m, err)
	}
	if len(r.Kvs) == 0 {
		return 0, nil
	}
	var id uint64
	if _, err := fmt.Sscanf(string(r.Kvs[0].Key), changePrefix+"%020d", &id); err != nil {
		return 0, corrupt(string(r.Kvs[0].Key), err)
	}
	return id, nil
}
