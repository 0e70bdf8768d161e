import { expect, test } from 'vitest';
import { formatRate, parseLimit, parseRate, readable } from './rate';

test('every spelling of tc and Xen is read', () => {
  const cases: [string, number][] = [
    ['100mbit', 100e6], ['1.5gbit', 1.5e9], ['10Mb/s', 10e6], ['250KB/s', 2e6], ['8000', 8000], ['unlimited', Infinity], [' 2 mbit ', 2e6],
  ];
  for (const [text, rate] of cases) expect(parseRate(text), text).toBe(rate);
});

test('what is not one rate is refused in words', () => {
  for (const text of ['', 'mbit', '-1mbit', '1e99', '1..2mbit', '10mbps', '10 parsecs', '999999tbit']) {
    expect(parseRate(text), text).toMatchObject({ code: 'invalid' });
  }
  expect(parseRate('10mbps')).toMatchObject({ message: expect.stringContaining('ambiguous') });
});

test('a limit that would cut the VM off is refused', () => {
  expect(parseLimit('0')).toMatchObject({ message: expect.stringContaining('cut the VM off') });
  expect(parseLimit('7999bit')).toMatchObject({ code: 'invalid' });
  expect(parseLimit('8kbit')).toBe(8000);
});

test('what is written is read back', () => {
  for (const rate of [8000, 1, 999, 1500, 1e6, 123456789, 1.5e9, 4e10, 1e14, Infinity]) expect(parseRate(formatRate(rate))).toBe(rate);
});

test('measured rates have three digits', () => {
  expect(readable(38_240_000)).toEqual(['38.2', 'Mbit/s']);
  expect(readable(999_900)).toEqual(['1.00', 'Mbit/s']);
  expect(readable(12)).toEqual(['12', 'bit/s']);
});
