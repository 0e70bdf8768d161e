package etcd

import (
	"context"
	"encoding/json"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice"
)

const profilesKey = allPrefix + "profiles"

// Profiles implements [control.Store].
func (s *Store) Profiles(ctx context.Context) (p sluice.Profiles, err error) {
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return p, err
	}
	defer done()
	r, err := m.client.Get(ctx, profilesKey)
	if err != nil {
		return p, s.unanswered(m, err)
	}
	if len(r.Kvs) == 0 {
		return p, nil
	}
	if err = json.Unmarshal(r.Kvs[0].Value, &p); err == nil {
		err = p.Check()
	}
	if err != nil {
		return sluice.Profiles{}, corrupt(profilesKey, err)
	}
	p.Revision = uint64(r.Kvs[0].ModRevision)
	return p, nil
}

// PutProfiles implements [control.Store].
func (s *Store) PutProfiles(ctx context.Context, p *sluice.Profiles) error {
	if err := s.room(); err != nil {
		return err
	}
	m, ctx, done, err := s.ask(ctx)
	if err != nil {
		return err
	}
	defer done()
	r, err := m.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(profilesKey), "=", int64(p.Revision))).
		Then(clientv3.OpPut(profilesKey, encode(p))).Commit()
	if err != nil {
		return s.unanswered(m, err)
	}
	if !r.Succeeded {
		return p.Changed()
	}
	p.Revision = uint64(r.Header.Revision)
	return nil
}
