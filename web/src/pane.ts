// One direction of one vif: what passes, its chart, its limit as a line and as a number.

import { Chart } from './chart';
import { h, icon, setText } from './dom';
import { Line } from './line';
import { spanMS, type Model, type VIF } from './model';
import type { Palette } from './palette';
import { readable } from './rate';
import { glide, wantedTop } from './scale';
import { t } from './texts';
import { Terms } from './terms';
import { type Direction, limitOf, type Patch, type Problem } from './wire';
import { baseOf, type Base, type Writer } from './writer';

/** Where a limit may be dragged to when nobody said what the link carries. */
const farCeiling = 400e9;
const gutter = 84; // px, the line's post

export interface Frame {
  edge: number; // the daemon's time at the charts' right end, ms
  ms: number; // since the frame before
  still: boolean; // the person asked for less motion
}

export class Pane {
  readonly element: HTMLElement;
  private readonly chart: Chart;
  private readonly line: Line;
  private readonly guarantee: Line;
  private readonly lines: Line[];
  private readonly number = h('b');
  private readonly unit = h('span', { class: 'unit' });
  private readonly terms: Terms;
  private readonly first: HTMLInputElement; // priority
  private readonly lift: HTMLButtonElement;
  private readonly context = h('p', { class: 'context' });
  private base: Base | undefined; // when the person took the line up
  private top = 0;
  private wanted = 0;
  private drawn = NaN; // the edge drawn last
  private dirty = true;

  constructor(
    private readonly v: VIF,
    private readonly d: Direction,
    private readonly model: Model,
    private readonly writer: Writer,
    palette: Palette,
    host: HTMLElement,
    private readonly complain: (p: Problem | undefined) => void,
  ) {
    const whose = `${v.status.vm} vif ${v.status.vif} ${d}`;
    const name = `${whose} ${t.limit}`;
    this.terms = new Terms(`${v.status.vm} vif ${v.status.vif}`, d, () => this.now, (patch) => void this.apply(patch, baseOf(v)), complain);
    this.first = h('input', { type: 'checkbox', 'aria-label': `${whose} ${t.priority}`, change: () => {
      void this.apply({ priority: Number(this.first.checked) }, baseOf(v)).finally(() => this.update());
    } });
    this.lift = h('button', { class: 'lift', title: t.lift(d), 'aria-label': `${name}: ${t.lift(d)}`, click: () => this.apply({ limit: Infinity }, baseOf(v)) }, icon('M4 4l8 8M12 4l-8 8'));
    const plot = h('div', { class: 'plot' }, this.context);
    this.element = h('section', { class: `pane ${d}`, 'aria-label': whose },
      h('header', {},
        h('p', { class: 'usage' }, h('span', { class: 'direction' }, d, h('span', { class: 'verb' }, d === 'tx' ? t.sends : t.receives)), this.number, this.unit),
        h('div', { class: 'limit' }, h('label', {}, h('span', { title: t.limitTip }, t.limit), this.terms.limit.input), this.lift),
      ),
      plot,
      h('div', { class: 'terms' },
        ...this.terms.others,
        h('label', { title: t.priorityTip }, this.first, t.priority),
      ),
    );
    host.append(this.element); // the chart asks for its size
    this.chart = new Chart(plot, d, palette, gutter);
    this.line = new Line(this.chart.over, name, {
      begin: () => (this.base = baseOf(v)),
      preview: (limit) => this.preview(limit),
      commit: (limit) => this.apply({ limit }, this.base ?? baseOf(v)),
    });
    this.guarantee = new Line(this.chart.over, `${whose} ${t.guarantee}`, {
      begin: () => (this.base = baseOf(v)),
      preview: (guarantee) => this.preview(undefined, guarantee),
      commit: (guarantee) => this.apply({ guarantee }, this.base ?? baseOf(v)),
    }, 'guarantee');
    this.lines = [this.line, this.guarantee];
    this.update();
    this.top = this.wanted;
  }

  /** Whether the person is at work here, so that it must stay where it is. */
  get busy(): boolean {
    return this.lines.some((l) => l.held || l.asking) || this.element.contains(document.activeElement);
  }

  /** update takes over what the newest data set or change said. */
  update(): void {
    const s = this.now;
    const [n, unit] = readable(s.usage);
    setText(this.number, n);
    setText(this.unit, unit);
    const limit = limitOf(s.limit);
    this.lift.hidden = limit === Infinity;
    this.element.classList.toggle('free', limit === Infinity);
    this.terms.show();
    if (document.activeElement !== this.first) this.first.checked = !!s.priority;
    this.chart.marks = { capacity: this.model.capacity[this.d], guarantee: 0 };
    this.line.set(limit, this.ceiling);
    this.guarantee.set(s.guarantee, Math.min(limit, this.ceiling));
    const planned = this.writer.planned(this.v, this.d);
    this.line.plan(planned.limit);
    this.guarantee.plan(planned.guarantee);
    const since = this.model.timeline.last - spanMS;
    const lines = this.v.lines[this.d];
    this.chart.load(this.model.timeline, lines, since - 2 * this.model.interval);
    this.wanted = wantedTop(this.wanted, this.model.timeline.peak(lines.usage, since), limit);
    this.dirty = true;
  }

  /** frame moves the chart on; it returns whether there was anything to draw. */
  frame(f: Frame): boolean {
    const before = this.top;
    const held = this.lines.find((l) => l.held);
    if (held) this.top = held.underHand(this.top, f.ms);
    else if (!this.lines.some((l) => l.asking)) this.top = f.still ? this.wanted : glide(this.top, this.wanted, f.ms);
    if (!this.dirty && this.top === before && Math.abs(f.edge - this.drawn) < this.chart.grain) return false;
    this.chart.draw(f.edge, this.top);
    for (const l of this.lines) l.place(this.top, this.chart.height, this.v.status[this.d].usage);
    this.drawn = f.edge;
    this.dirty = false;
    return true;
  }

  resize(): void {
    this.chart.resize();
    this.dirty = true;
  }

  recolour(p: Palette): void {
    this.chart.recolour(p);
    this.dirty = true;
  }

  destroy(): void {
    this.chart.destroy();
    this.element.remove();
  }

  private get ceiling(): number {
    const c = this.model.capacity[this.d];
    return c === Infinity ? farCeiling : c;
  }

  private get now() {
    return this.v.status[this.d];
  }

  private async apply(patch: Patch, base: Base): Promise<void> {
    this.complain(undefined);
    if (patch.limit !== undefined) this.line.send(patch.limit);
    if (patch.guarantee !== undefined) this.guarantee.send(patch.guarantee);
    try {
      await this.writer.set(this.v, this.d, patch, base);
    } finally {
      this.base = undefined;
      if (patch.limit !== undefined) this.line.done();
      if (patch.guarantee !== undefined) this.guarantee.done();
    }
  }

  /** preview says what a limit would mean beside the neighbours. */
  private preview(limit: number | undefined, guarantee?: number): void {
    const asking = limit ?? guarantee;
    this.element.classList.toggle('asking', asking !== undefined);
    this.writer.rehearse(this.v, this.d, asking === undefined ? undefined : limit === undefined ? { guarantee: asking } : { limit });
    if (asking === undefined) return setText(this.context, '');
    const others = Math.max(0, this.model.sum[this.d] - this.v.status[this.d].usage);
    const capacity = this.model.capacity[this.d];
    const link = capacity === Infinity ? '' : ` ${t.of(readable(capacity).join(' '))}`;
    const keys = this.lines.some((l) => l.held) ? '' : t.keys;
    setText(this.context, keys + t.othersUse(this.d, readable(others).join(' '), link));
  }
}
