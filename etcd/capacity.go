package etcd

import (
	"context"
	"encoding/json"

	"sluice"
)

const capacityKey = allPrefix + "capacity"

// Capacity is what the link was said to carry while the daemon ran; ok is
// false if nobody said so.
func (s *Store) Capacity(ctx context.Context) (c sluice.Capacity, ok bool, err error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return c, false, err
	}
	defer done()
	r, err := m.client.Get(ctx, capacityKey)
	if err != nil {
		return c, false, s.unanswered(m, err)
	}
	if len(r.Kvs) == 0 {
		return c, false, nil
	}
	if err := json.Unmarshal(r.Kvs[0].Value, &c); err != nil || c.Tx < sluice.MinLimit || c.Rx < sluice.MinLimit {
		return c, false, corrupt(capacityKey, err)
	}
	return c, true, nil
}

// SetCapacity keeps it; nil forgets it.
func (s *Store) SetCapacity(ctx context.Context, c *sluice.Capacity) error {
	if err := s.room(); err != nil {
		return err
	}
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return err
	}
	defer done()
	if c == nil {
		_, err = m.client.Delete(ctx, capacityKey)
	} else {
		_, err = m.client.Put(ctx, capacityKey, encode(c))
	}
	if err != nil {
		return s.unanswered(m, err)
	}
	return nil
}
