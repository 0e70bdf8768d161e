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
	ctx, cancel := s.bound(ctx)
	defer cancel()
	r, err := s.client.Get(ctx, capacityKey)
	if err != nil {
		return c, false, s.unanswered(err)
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
func (s *Store) SetCapacity(ctx context.Context, c *sluice.Capacity) (err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if c == nil {
		_, err = s.client.Delete(ctx, capacityKey)
	} else {
		_, err = s.client.Put(ctx, capacityKey, encode(c))
	}
	if err != nil {
		return s.unanswered(err)
	}
	return nil
}
