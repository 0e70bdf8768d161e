import { describe, expect, it } from 'vitest';
import { badgesOf } from './badges';
import { Model } from './model';
import { resultOf, said } from './way';
import type { Allocation, Change, DataSet, VIFStatus } from './wire';

const free: Allocation = { guarantee: 0, limit: null, weight: 100 };
const status = { vm: 'web', vif: 0, device: 'tap0', source: 'host', state: 'Connected', revision: 1, tx: { usage: 0, demand: 0, ...free }, rx: { usage: 0, demand: 0, ...free } } as VIFStatus;
const record = (more: Partial<Change>): Change => ({
  id: 1, vm: 'web', vif: 0, key: 'web/0', device: 'tap0', by: 'sluice', at: '2026-01-01T00:00:00Z',
  from: { tx: free, rx: free }, to: { tx: free, rx: free }, result: 'done', verified: true, states: [], took_ns: 0, ...more,
});

it('says that a vif is not enforced first, and why in a sentence', () => {
  const badges = badgesOf({ ...status, not_enforced: 'tap0 has an ingress qdisc', problem: 'no answer' });
  expect(badges.map((b) => `${b.kind} ${b.text}`)).toEqual(['fault not enforced', 'warn collector lost']);
  expect(badges[0]?.note).toBe('Its frames do not obey what is set: tap0 has an ingress qdisc.');
  expect(badgesOf(status).some((b) => b.text === 'not enforced')).toBe(false);
});

describe('a note in the journal', () => {
  const note = record({ id: 2, note: 'repaired by sluice: restored: tx class' });
  it('says what was found and not what was set', () => {
    expect(said(note)).toBe('repaired by sluice: restored: tx class');
    expect(said(record({}))).toBe('nothing');
    expect(resultOf(note, false)).toEqual({ text: 'repaired', kind: 'quiet' });
    expect(resultOf({ ...note, verified: false }, false).text).toBe('not enforced');
    expect(resultOf(record({}), false).text).toBe('verified');
    expect(resultOf(record({}), true).text).toBe('undone later');
  });
  it('is no change of the vif: its last one can be undone still', () => {
    const model = new Model();
    const data: DataSet = { at: '2026-01-01T00:00:01Z', interval_ns: 1e9, capacity: { tx: null, rx: null }, vifs: [status] };
    model.change(record({}), 0);
    model.know(data);
    expect(model.change(note, 0)).toBe(true);
    expect(model.changes.map((c) => c.id)).toEqual([2, 1]);
    expect(model.vifs.get('web/0')?.change?.id).toBe(1);
    const later = new Model();
    later.journal([note, record({})], 0);
    later.know(data);
    expect(later.vifs.get('web/0')?.change?.id).toBe(1);
  });
});
