import { describe, expect, it } from 'vitest';
import { requestFor } from './api';
import { differences } from './way';
import { type Allocation, type Change, nameOf } from './wire';

const free: Allocation = { guarantee: 0, limit: null, weight: 100 };
const change = (from: object, to: object, vif = 0): Change =>
  ({ vm: vif < 0 ? '@gold' : 'web', vif, from: { tx: free, rx: free, ...from }, to: { tx: free, rx: free, ...to } }) as Change;

describe('what a change changed', () => {
  it('names every field, and both directions once where they are alike', () => {
    const more = { guarantee: 2e6, limit: 5e6, weight: 7, priority: 1 };
    const words = 'unlimited → 5mbit, guarantee 0bit → 2mbit, weight 100 → 7, priority 0 → 1';
    expect(differences(change({}, { tx: more }))).toBe(`tx ${words}`);
    expect(differences(change({}, { tx: more, rx: more }))).toBe(`both ${words}`);
    expect(differences(change({}, {}))).toBe('nothing');
  });
  it('says where a vif shares, and that a group is new or gone', () => {
    expect(differences(change({}, { group: 'gold' }))).toBe('group host → gold');
    expect(differences(change({ group: 'gold' }, {}))).toBe('group gold → host');
    expect(differences(change({}, { group: 'host' }, -1))).toBe('made');
    expect(differences(change({}, { group: 'outer' }, -1))).toBe('made in outer');
    expect(differences(change({ group: 'host' }, {}, -1))).toBe('deleted');
    expect(nameOf(change({}, {}, -1))).toBe('group gold');
  });
});

it('asks for what was typed and nothing else', () => {
  expect(requestFor('web', 1, 'rx', { guarantee: 5 }, 3)).toEqual({ vm: 'web', vif: 1, rx: { guarantee: 5 }, revision: 3 });
  expect(requestFor('web', 1, 'tx', { limit: Infinity }, 3)).toEqual({ vm: 'web', vif: 1, tx: { limit: 'unlimited' }, revision: 3 });
});
