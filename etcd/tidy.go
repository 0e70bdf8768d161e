package etcd

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"sluice"
)

const (
	journalKept = 10_000 // changes
	tidyEvery   = 500    // changes

	// revisionsKept lets a watcher fall this many writes behind.
	revisionsKept = 2000
)

// keepHouse bounds the journal and etcd's own past, by count: whatever the
// rate of changes, the store stays small.
func (s *Store) keepHouse() {
	for {
		if err := s.tidyUp(s.closing); err != nil && s.closing.Err() == nil && s.now.Load() != nil && s.room() == nil {
			s.log.Warn("the store could not be tidied up", "error", err)
		}
		select {
		case <-s.closing.Done():
			return
		case <-s.tidy:
		}
	}
}

// tidyUp deletes the oldest finished changes beyond those kept, and forgets
// old revisions.
func (s *Store) tidyUp(ctx context.Context) error {
	if err := s.room(); err != nil {
		return err
	}
	m := s.now.Load()
	if m == nil {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer context.AfterFunc(m.alive, cancel)()
	if newest := s.lastID.Load(); newest > journalKept {
		end := changeKey(newest - journalKept + 1)
		r, err := m.client.Get(ctx, changePrefix, clientv3.WithRange(end), clientv3.WithLimit(4*tidyEvery))
		if err != nil {
			return err
		}
		var deletes []clientv3.Op
		for _, kv := range r.Kvs {
			if c, err := decodeChange(string(kv.Key), kv.Value); err == nil && c.Result == sluice.Pending {
				continue // still under way: its driver hangs
			}
			deletes = append(deletes, clientv3.OpDelete(string(kv.Key)))
		}
		for some := range slices.Chunk(deletes, int(embed.DefaultMaxTxnOps)) {
			if _, err := m.client.Txn(ctx).Then(some...).Commit(); err != nil {
				return err
			}
		}
	}
	r, err := m.client.Get(ctx, changePrefix, clientv3.WithCountOnly(), clientv3.WithPrefix())
	if err != nil {
		return err
	}
	if last := r.Header.Revision - revisionsKept; last > 0 {
		if _, err := m.client.Compact(ctx, last); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
	}
	return nil
}
