import { expect, it } from 'vitest';
import { judge } from './look';
import type { VIF } from './model';
import { parse, spell } from './route';

const vif = (tx: object, more: object = {}) => {
  const d = { usage: 0, demand: 0, limit: null, guarantee: 0, weight: 100 };
  return { status: { vm: 'web', vif: 0, state: 'Connected', tx: { ...d, ...tx }, rx: d, ...more } } as unknown as VIF;
};

it('says what needs a look, the worst first', () => {
  expect(judge(vif({}))).toBeUndefined();
  expect(judge(vif({ usage: 95, demand: 95, limit: 100 }))).toBeUndefined(); // near the limit, and wants no more
  expect(judge(vif({ usage: 99e6, demand: 150e6, limit: 100e6 }))?.text).toBe('tx held back by its limit of 100mbit');
  expect(judge(vif({ usage: 5e6, demand: 50e6, guarantee: 20e6 }))?.text).toBe('tx guarantee not met: 5.00 Mbit/s of 20mbit');
  expect(judge(vif({ usage: 5e6, demand: 5e6, guarantee: 20e6 }))).toBeUndefined(); // it wants no more
  expect(judge(vif({ usage: 5e6, demand: 50e6, guarantee: 20e6 }, { problem: 'no answer', not_enforced: 'gone' }))?.rank).toBe(0);
});

it('names every view by an address', () => {
  for (const hash of ['#/', '#/?q=web+1&sort=-tx', '#/vm/a%2Fb%20%23', '#/group/gold?sort=name']) expect(spell(parse(hash))).toBe(hash);
  expect(parse('#/vm/%zz').name).toBe('%zz');
  expect(parse('').view).toBe('overview');
});
