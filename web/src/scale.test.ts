import { expect, test } from 'vitest';
import { glide, leastTop, niceTop, ticks, wantedTop } from './scale';

test('an axis ends at a calm number above what it shows', () => {
  for (const v of [1, 7.3, 99, 101, 1e6, 2.6e8]) {
    expect(niceTop(v)).toBeGreaterThanOrEqual(v);
    expect(niceTop(v)).toBeLessThanOrEqual(v * 1.5);
  }
});

test('an idle axis does not magnify, a limit is always inside, and a near axis rests', () => {
  expect(wantedTop(0, 0, Infinity)).toBe(niceTop(leastTop));
  expect(wantedTop(0, 1e6, 100e6)).toBeGreaterThan(100e6);
  expect(wantedTop(120e6, 90e6, Infinity)).toBe(120e6);
});

test('gliding arrives', () => {
  let top = 1e6;
  for (let i = 0; i < 100; i++) top = glide(top, 1e8, 16);
  expect(top).toBe(1e8);
});

test('two to five ticks stand inside', () => {
  for (const top of [1e5, 1.2e6, 3e8, 8e9]) {
    expect(ticks(top).length).toBeGreaterThanOrEqual(2);
    expect(ticks(top).length).toBeLessThanOrEqual(5);
    for (const t of ticks(top)) expect(t).toBeLessThan(top);
  }
});
