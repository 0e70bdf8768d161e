// Which rows need a look, and why.

import type { VIF } from './model';
import { formatRate, readable } from './rate';
import { t } from './texts';
import { directions, limitOf } from './wire';

export interface Look {
  rank: number; // 0 comes first
  kind: 'fault' | 'warn' | 'held';
  text: string;
}

/** So many data sets in a row it must be so, and not be so, before the page says it: rows must not flicker. */
const settled = 3;

/** judge is what a vif needs a look for at this data set, the worst first. */
export function judge(v: Pick<VIF, 'status'>): Look | undefined {
  const s = v.status;
  if (s.absent) return undefined;
  if (s.not_enforced) return { rank: 0, kind: 'fault', text: `${t.notEnforcedShort}: ${s.not_enforced}` };
  for (const d of directions) {
    const { usage, demand, guarantee } = s[d];
    const wanted = Math.min(guarantee, demand, limitOf(s[d].limit));
    if (guarantee > 0 && usage < wanted * 0.9) return { rank: 1, kind: 'fault', text: t.guaranteeNotMet(d, readable(usage).join(' '), formatRate(guarantee)) };
  }
  if (s.problem) return { rank: 2, kind: 'warn', text: `${t.collectorLost}: ${s.problem}` };
  for (const d of directions) {
    const limit = limitOf(s[d].limit);
    if (limit !== Infinity && s[d].usage > limit * 0.9 && (s[d].demand > limit * 1.02 || (s[d].drops ?? 0) > 0)) return { rank: 3, kind: 'held', text: t.heldBack(d, formatRate(limit)) };
  }
  return undefined;
}

/** Looks remembers for how long it has been so. */
export class Looks {
  private readonly seen = new WeakMap<VIF, { shown: Look | undefined; rank: number; times: number }>();

  /** take judges a vif at a new data set. */
  take(v: VIF): void {
    const now = judge(v);
    const rank = now?.rank ?? -1;
    const was = this.seen.get(v) ?? { shown: undefined, rank: -1, times: 0 };
    const times = rank === was.rank ? was.times + 1 : 1;
    const known = rank === 0 || rank === 2 || times >= settled;
    this.seen.set(v, { shown: known ? now : was.shown, rank, times });
  }

  of(v: VIF): Look | undefined {
    return this.seen.get(v)?.shown;
  }
}
