// Rates in bit/s as tc(8) and xl.cfg(5) spell them; Infinity is no limit. The same rules as rate.go,
// so that a person is told at once what the daemon would say.

import type { Problem } from './wire';

/** The lowest limit accepted: sluice.MinLimit. */
export const minLimit = 8e3;
/** The highest rate that can be written: sluice.MaxRate. */
export const maxRate = 1e14;

const units: readonly (readonly [string, number])[] = [
  ['tbit', 1e12],
  ['gbit', 1e9],
  ['mbit', 1e6],
  ['kbit', 1e3],
  ['bit', 1],
];

/** parseRate returns bit/s, or a Problem in words for what is not exactly one rate. */
export function parseRate(text: string): number | Problem {
  const s = text.trim();
  if (s.toLowerCase() === 'unlimited') return Infinity;
  const [, number = '', unit = ''] = /^([0-9.]*)\s?(.*)$/s.exec(s) ?? [];
  if (number === '') return bad(s, 'it does not begin with a number');
  const one = unitOf(s, number, unit);
  if (typeof one !== 'number') return one;
  if (!/^\d+(\.\d+)?$/.test(number)) return bad(s, `"${number}" is not a number`);
  const [whole = '', fraction = ''] = number.split('.');
  let rate = BigInt(whole) * BigInt(one);
  let place = BigInt(one);
  for (const digit of fraction.slice(0, 15)) {
    rate += (BigInt(digit) * place) / 10n;
    place /= 10n;
  }
  if (rate > BigInt(maxRate)) return bad(s, `it is above ${formatRate(maxRate)}`);
  return Number(rate);
}

/** parseLimit is parseRate for what may be a vif's limit. */
export function parseLimit(text: string): number | Problem {
  const rate = parseRate(text);
  if (typeof rate !== 'number' || rate >= minLimit) return rate;
  const message = rate === 0 ? 'limit 0 would cut the VM off' : `limit ${formatRate(rate)} is below ${formatRate(minLimit)}, the least that carries TCP`;
  return { code: 'invalid', message, try: `at least ${formatRate(minLimit)}, or unlimited` };
}

function unitOf(s: string, number: string, unit: string): number | Problem {
  const lower = unit.toLowerCase();
  if (unit === '') return 1;
  for (const [name, rate] of units) if (lower === name) return rate;
  const bps = /^([a-z]?)bps$/.exec(lower);
  if (bps) {
    const prefix = bps[1] ?? '';
    const bits = `${number}${prefix}bit`;
    const bytes = `${number}${prefix.toUpperCase()}B/s`;
    return {
      code: 'invalid',
      message: `"${short(s)}" is ambiguous: tc reads ${unit} as bytes per second (${bytes}), most people mean bits (${bits})`,
      try: `${bits}, or ${bytes}`,
    };
  }
  const xen = /^([kmgt]?)b\/s$/.exec(lower);
  if (xen) {
    const rate = units.find(([name]) => name === `${xen[1]}bit`)?.[1] ?? 1;
    return unit.at(-3) === 'B' ? 8 * rate : rate;
  }
  return bad(s, `unknown unit "${short(unit)}"`);
}

function bad(s: string, why: string): Problem {
  return { code: 'invalid', message: `"${short(s)}" is not a rate: ${why}`, try: 'a rate such as 100mbit, 1.5gbit, 10Mb/s, 250KB/s or unlimited' };
}

function short(s: string): string {
  return s.length > 40 ? `${s.slice(0, 40)}...` : s;
}

/** formatRate spells a whole number of bit/s exactly, so that parseRate reads it back: "1.5gbit". */
export function formatRate(rate: number): string {
  if (rate === Infinity) return 'unlimited';
  for (const [name, one] of units) {
    if (rate < one) continue;
    const whole = Math.floor(rate / one);
    const rest = rate - whole * one;
    const digits = rest === 0 ? '' : `.${String(rest).padStart(String(one).length - 1, '0').replace(/0+$/, '')}`;
    return `${whole}${digits}${name}`;
  }
  return '0bit';
}

const shown: readonly (readonly [number, string])[] = [
  [1e12, 'Tbit/s'],
  [1e9, 'Gbit/s'],
  [1e6, 'Mbit/s'],
  [1e3, 'kbit/s'],
];

/** readable is a measured rate for people, to three digits: ["38.2", "Mbit/s"]. */
export function readable(rate: number): [number: string, unit: string] {
  if (rate === Infinity) return ['no', 'limit'];
  for (const [one, unit] of shown) {
    if (rate < one * 0.9995) continue;
    const n = rate / one;
    return [n.toFixed(n < 9.995 ? 2 : n < 99.95 ? 1 : 0), unit];
  }
  return [rate.toFixed(0), 'bit/s'];
}
