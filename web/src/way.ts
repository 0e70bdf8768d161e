// A change's way through the states of the vif's back-end.

import type { Allocation, Change, Direction } from './wire';
import { directions, limitOf } from './wire';
import { t } from './texts';
import { formatRate } from './rate';

export interface Step {
  state: string;
  ms: number; // since the change was asked for
}

/** steps are the states a change went through so far. */
export function steps(c: Change): Step[] {
  return (c.states ?? []).map((s) => ({ state: s.state, ms: Math.max(0, msBetween(c.at, s.at)) }));
}

/** msBetween is the time between two RFC 3339 times, to the nanosecond; Date keeps only milliseconds. */
export function msBetween(from: string, to: string): number {
  const [a, b] = [split(from), split(to)];
  return b[0] - a[0] + (b[1] - a[1]) / 1e6;
}

/** split is a time in whole seconds, as ms, and its nanoseconds. */
function split(t: string): [number, number] {
  const [, whole = t, fraction = '', zone = ''] = /^(.*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(t) ?? [];
  return [Date.parse(whole + zone), Number(fraction.padEnd(9, '0').slice(0, 9))];
}

/** formatMS is a duration for people: "0.42 ms", "12 ms", "1.3 s". */
export function formatMS(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms.toFixed(ms < 1 ? 2 : ms < 20 ? 1 : 0)} ms`;
}

/** said is a record in words: what it changed, or what it notes. */
export const said = (c: Change): string => c.note ?? differences(c);

/** resultOf is what became of a change, and the class that it is shown in. */
export function resultOf(c: Change, undone: boolean): { text: string; kind: string } {
  if (c.note) return c.verified ? { text: t.repaired, kind: 'quiet' } : { text: t.notEnforcedShort, kind: 'undone' };
  if (undone) return { text: t.takenBack, kind: 'quiet' };
  return { text: c.result === 'pending' ? t.under : c.result === 'undone' ? t.undone : c.verified ? t.verified : t.done, kind: c.result };
}

/** differences say what a change changed: "tx 100mbit → 50mbit". */
export function differences(c: Change): string {
  let said = directions.map((d) => difference(d, c.from[d], c.to[d])).filter((s) => s !== '');
  const [tx = '', rx = ''] = said.map((s) => s.slice(3));
  if (said.length === 2 && tx === rx) said = [`${t.both} ${tx}`];
  if (c.from.group !== c.to.group) said.unshift(moved(c));
  return said.join(', ') || t.nothing;
}

/** moved says which group a vif or group is in now, or that a group is new or gone. */
function moved(c: Change): string {
  if (c.vif < 0 && !c.from.group) return c.to.group === 'host' ? t.made : t.madeIn(c.to.group ?? '');
  if (c.vif < 0 && !c.to.group) return t.deleted;
  return `${t.groupIn(c.from.group ?? 'host')} → ${c.to.group ?? 'host'}`;
}

function difference(d: Direction, from: Allocation, to: Allocation): string {
  const parts: string[] = [];
  if (limitOf(from.limit) !== limitOf(to.limit)) parts.push(`${formatRate(limitOf(from.limit))} → ${formatRate(limitOf(to.limit))}`);
  if (from.guarantee !== to.guarantee) parts.push(`${t.guarantee} ${formatRate(from.guarantee)} → ${formatRate(to.guarantee)}`);
  if (from.weight !== to.weight) parts.push(`${t.weight} ${from.weight} → ${to.weight}`);
  if ((from.priority ?? 0) !== (to.priority ?? 0)) parts.push(`${t.priority} ${from.priority ?? 0} → ${to.priority ?? 0}`);
  return parts.length ? `${d} ${parts.join(', ')}` : '';
}
