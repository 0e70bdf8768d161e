package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice"
	"sluice/control"
)

// retryWatch is how long a broken watch waits before it looks again.
const retryWatch = time.Second

// Watch implements [control.Store]. It waits until the store has been opened.
func (s *Store) Watch(ctx context.Context) (<-chan control.Update, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closing.Done():
		return nil, errClosed
	}
	now, revision, err := s.snapshot(ctx)
	for err != nil { // it may just be failing
		select {
		case <-ctx.Done():
			return nil, err
		case <-s.closing.Done():
			return nil, errClosed
		case <-time.After(retryWatch):
		}
		now, revision, err = s.snapshot(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan control.Update)
	s.chores.Go(func() {
		defer close(out)
		defer cancel()
		defer context.AfterFunc(s.closing, cancel)()
		for {
			for _, u := range now {
				s.remember(u.Key, u.Node)
				if !send(ctx, out, u) {
					return
				}
			}
			err := s.follow(ctx, revision+1, out)
			// Fell behind what is kept of the past, or etcd hiccuped: look anew.
			for {
				if ctx.Err() != nil {
					return
				}
				if s.now.Load() != nil {
					s.log.Warn("the store's watch broke; looking again", "error", err)
				}
				if now, revision, err = s.snapshot(ctx); err == nil {
					break
				}
				select {
				case <-ctx.Done():
				case <-time.After(retryWatch):
				}
			}
		}
	})
	return out, nil
}

// snapshot is every node, with the change of those under way, at one revision.
func (s *Store) snapshot(ctx context.Context) ([]control.Update, int64, error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	r, err := m.client.Get(ctx, vifPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, s.unanswered(m, err)
	}
	updates := make([]control.Update, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		u, err := update(kv)
		if err != nil {
			s.log.Warn("skipping a vif's settings", "error", err)
			continue
		}
		if u.Node.State == sluice.Reconfiguring {
			c, err := m.client.Get(ctx, changeKey(u.Node.Change), clientv3.WithRev(r.Header.Revision))
			if err != nil {
				return nil, 0, s.unanswered(m, err)
			}
			s.attach(&u, c.Kvs)
		}
		updates = append(updates, u)
	}
	return updates, r.Header.Revision, nil
}

// follow sends every write from the given revision on, until it cannot.
func (s *Store) follow(ctx context.Context, revision int64, out chan<- control.Update) error {
	m, _, done, err := s.ask(ctx)
	if err != nil {
		return err
	}
	done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.alive, cancel)()
	for r := range m.client.Watch(ctx, allPrefix, clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithFilterDelete()) {
		if err := r.Err(); err != nil {
			return err
		}
		// The two writes of a transaction come together, with one revision.
		changes := make(map[int64]*mvccpb.KeyValue)
		for _, e := range r.Events {
			if keyOf(e.Kv.Key) == "" {
				changes[e.Kv.ModRevision] = e.Kv
			}
		}
		for _, e := range r.Events {
			if keyOf(e.Kv.Key) == "" {
				continue
			}
			u, err := update(e.Kv)
			if err != nil {
				s.log.Warn("skipping a vif's settings", "error", err)
				continue
			}
			if kv := changes[e.Kv.ModRevision]; kv != nil {
				s.attach(&u, []*mvccpb.KeyValue{kv})
			}
			s.remember(u.Key, u.Node)
			if !send(ctx, out, u) {
				return ctx.Err()
			}
		}
	}
	return errors.New("the watch ended")
}

func update(kv *mvccpb.KeyValue) (control.Update, error) {
	key := keyOf(kv.Key)
	node, err := decodeNode(key, kv.Value, kv.ModRevision)
	return control.Update{Key: key, Node: node}, err
}

// attach adds the change to its update, if it can be read.
func (s *Store) attach(u *control.Update, found []*mvccpb.KeyValue) {
	for _, kv := range found {
		c, err := decodeChange(string(kv.Key), kv.Value)
		if err != nil {
			s.log.Warn("skipping a journal record", "error", err)
			continue
		}
		u.Change = c
	}
}

func send(ctx context.Context, out chan<- control.Update, u control.Update) bool {
	select {
	case out <- u:
		return true
	case <-ctx.Done():
		return false
	}
}
