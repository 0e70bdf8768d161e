// What the page knows of the host: its vifs, their recent past, and what became of changes.

import { type Series, Timeline } from './timeline';
import { type Link, type Change, type DataSet, type Direction, directions, keyOf, limitOf, type Problem, type Recent, type VIFStatus } from './wire';

/** The lines of one direction's chart. */
export interface Lines {
  usage: Series;
  demand: Series;
  limit: Series;
}

/** One vif, and what the page remembers of it. */
export interface VIF {
  readonly key: string;
  status: VIFStatus;
  lines: Record<Direction, Lines>;
  missed: number; // data sets in a row without it
  dropped: Series; // packets a data set, both directions
  change: Change | undefined; // the newest change of it
  problem: Problem | undefined; // why the last request here was not granted
  /** Settings that a change left and that no data set has shown yet. */
  unseen: { revision: number; until: number } | undefined;
}

/** The charts' span, and how long a vif that vanished is remembered. */
export const spanMS = 120_000;

const kept = 60; // changes

export class Model {
  timeline = new Timeline(1);
  readonly vifs = new Map<string, VIF>();
  readonly total: Record<Direction, Lines>;
  readonly sum: Record<Direction, number> = { tx: 0, rx: 0 };
  readonly capacity: Record<Direction, number> = { tx: Infinity, rx: Infinity };
  /** The sum of guarantees and the reserve, as the daemon said last. */
  link: Link | undefined;
  /** The journal, newest first. */
  changes: Change[] = [];
  readonly absent = new Map<string, VIFStatus>();
  /** Whether the newest data set has other vifs than the one before. */
  moved = false;
  interval = 1000; // ms between data sets
  /** The page's clock (performance.now) less the daemon's, as the quickest data set showed it. */
  clockOffset = Infinity;
  private waiting: (() => void)[] = [];

  constructor() {
    this.total = { tx: this.newLines(), rx: this.newLines() };
  }

  /** drops are the packets that did not fit the queue in the charts' span. */
  drops(v: VIF): number {
    return this.timeline.sum(v.dropped, this.timeline.last - spanMS);
  }

  /** absences takes in what the daemon keeps of vifs that are not there. */
  absences(all: VIFStatus[]): void {
    const keys = new Set<string>();
    for (const status of all)
      if (status.absent) {
        keys.add(keyOf(status));
        this.absent.set(keyOf(status), status);
      }
    for (const key of this.absent.keys()) if (!keys.has(key)) this.absent.delete(key);
  }

  /** The vifs that the newest data set had. */
  *present(): Iterable<VIF> {
    for (const v of this.vifs.values()) if (v.missed === 0) yield v;
  }

  /** expect sizes the timeline before anything is in it. */
  expect(interval: number): void {
    this.interval = interval;
    const size = Math.min(4096, Math.ceil(spanMS / interval) + 16);
    if (this.timeline.size === size) return;
    this.timeline = new Timeline(size);
    this.vifs.clear();
    for (const d of directions) this.total[d] = this.newLines();
  }

  /** forget empties all charts; what is known of the vifs stays. */
  private forget(): void {
    this.timeline = new Timeline(this.timeline.size);
    this.clockOffset = Infinity;
    for (const v of this.vifs.values()) v.dropped = this.timeline.series();
    for (const lines of [this.total, ...[...this.vifs.values()].map((v) => v.lines)]) for (const d of directions) lines[d] = this.newLines();
  }

  /** recent fills in what happened before the first data set, or while the page was not listening. */
  recent(r: Recent): void {
    const at = r.at ?? [];
    const vifs = (r.vifs ?? []).map((v) => ({ v, lines: this.vifs.get(v.key)?.lines }));
    at.forEach((ms, i) => {
      if (!this.timeline.begin(ms)) return;
      const sum = { tx: 0, rx: 0 };
      for (const { v, lines } of vifs)
        for (const d of directions) {
          const usage = v[d]?.[i] ?? null;
          if (usage === null) continue;
          sum[d] += usage;
          if (lines) this.timeline.set(lines[d].usage, usage);
        }
      for (const d of directions) this.timeline.set(this.total[d].usage, sum[d]);
    });
  }

  /** know makes the vifs of a data set known, so that [recent] has somewhere to go. */
  know(data: DataSet): void {
    for (const status of data.vifs ?? []) {
      if (status.absent) continue;
      const key = keyOf(status);
      const v = this.vifs.get(key);
      if (v) v.status = status;
      else {
        const change = this.changes.find((c) => c.key === key && !c.note);
        const lines = { tx: this.newLines(), rx: this.newLines() };
        this.vifs.set(key, { key, status, lines, missed: 0, dropped: this.timeline.series(), change, problem: undefined, unseen: undefined });
      }
    }
  }

  /** dataset takes in one tick. */
  dataset(data: DataSet, now: number): void {
    const at = Date.parse(data.at);
    if (at < this.timeline.last - 5000) this.forget(); // the daemon's clock was set back
    if (!this.timeline.begin(at)) return;
    this.interval = data.interval_ns / 1e6 || 1000;
    this.clockOffset = Math.min(this.clockOffset + 1, now - at); // forgets slowly: clocks drift and step
    if (now - at > this.clockOffset + 60_000) this.clockOffset = now - at;
    for (const v of this.vifs.values()) v.missed++;
    this.know(data);
    this.moved = false;
    for (const d of directions) {
      this.capacity[d] = limitOf(data.capacity[d]);
      this.sum[d] = 0;
    }
    for (const status of data.vifs ?? []) {
      const v = this.vifs.get(keyOf(status));
      if (!v || status.absent) continue;
      this.moved ||= v.missed !== 1;
      v.missed = 0;
      for (const d of directions) this.take(v, d);
      const drops = (status.tx.drops ?? 0) + (status.rx.drops ?? 0);
      if (drops > 0) this.timeline.set(v.dropped, drops);
      if (v.unseen && (status.revision > v.unseen.revision || now > v.unseen.until) && status.state === 'Connected') v.unseen = undefined;
    }
    for (const d of directions) this.timeline.set(this.total[d].usage, this.sum[d]);
    for (const v of this.vifs.values()) {
      this.moved ||= v.missed === 1;
      if (v.missed > spanMS / this.interval) this.drop(v);
    }
    for (const wake of this.waiting.splice(0)) wake();
  }

  /** journal takes in the newest records; a journal that went back is another one, and the old one is forgotten. */
  journal(records: Change[], now: number): void {
    if ((records[0]?.id ?? 0) < (this.changes[0]?.id ?? 0)) {
      this.changes = [];
      for (const v of this.vifs.values()) v.change = undefined;
    }
    for (const c of [...records].reverse()) this.change(c, now);
  }

  /** change takes in a step of a change, or a record of the journal; true if that was news. */
  change(c: Change, now: number): boolean {
    const i = this.changes.findIndex((o) => o.id <= c.id);
    const known = i >= 0 && this.changes[i]?.id === c.id ? this.changes[i] : undefined;
    if (known && (known.result !== 'pending' || (c.result === 'pending' && (known.states?.length ?? 0) >= (c.states?.length ?? 0)))) return false;
    this.changes.splice(i < 0 ? this.changes.length : i, known ? 1 : 0, c);
    this.changes.length = Math.min(kept, this.changes.length);
    if (c.note) return true; // it changed no setting
    const v = this.vifs.get(c.key);
    if (!v || (v.change && v.change.id > c.id)) return true;
    v.change = c;
    if (c.result === 'done') v.problem = undefined;
    if (c.result !== 'pending' && Date.parse(c.states?.at(-1)?.at ?? c.at) > this.timeline.last) {
      v.unseen = { revision: v.status.revision, until: now + 5000 };
      const after = c.result === 'done' ? c.to : c.from;
      for (const d of directions) Object.assign(v.status[d], { priority: 0 }, after[d]);
      v.status.group = after.group ?? '';
    }
    return true;
  }

  /** seen resolves when a data set shows what the last change of v left, so that its revision is known. */
  async seen(v: VIF): Promise<void> {
    while (v.unseen && performance.now() < v.unseen.until)
      await new Promise<void>((wake) => {
        this.waiting.push(wake);
        setTimeout(wake, 1000);
      });
  }

  private take(v: VIF, d: Direction): void {
    const s = v.status[d];
    this.sum[d] += s.usage;
    this.timeline.set(v.lines[d].usage, s.usage);
    if (s.demand > s.usage * 1.02) this.timeline.set(v.lines[d].demand, s.demand);
    if (s.limit !== null) this.timeline.set(v.lines[d].limit, s.limit);
  }

  private drop(v: VIF): void {
    this.vifs.delete(v.key);
    for (const d of directions) for (const s of Object.values(v.lines[d])) this.timeline.forget(s as Series);
    this.timeline.forget(v.dropped);
  }

  private newLines(): Lines {
    return { usage: this.timeline.series(), demand: this.timeline.series(), limit: this.timeline.series() };
  }
}
