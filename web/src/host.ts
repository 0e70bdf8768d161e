// The host's own two charts: the sum of all vifs against what the link carries.

import { Chart } from './chart';
import { h, must, setText } from './dom';
import { type Model, spanMS } from './model';
import type { Palette } from './palette';
import type { Frame } from './pane';
import { readable } from './rate';
import { glide, wantedTop } from './scale';
import { type Direction, directions } from './wire';

const parts = 7; // of the bar that shows who takes how much: the largest, and the rest

class Sum {
  private readonly number = h('b');
  private readonly unit = h('span', { class: 'unit' });
  private readonly percent = h('b');
  private readonly link = h('span', { class: 'link' });
  private readonly of = h('span', { class: 'of' }, this.percent, this.link);
  private readonly bar = h('div', { class: 'shares', 'aria-hidden': 'true' });
  private readonly plot = h('div', { class: 'plot' });
  private readonly chart: Chart;
  private top = 0;
  private wanted = 0;
  private drawn = NaN;

  constructor(
    private readonly d: Direction,
    private readonly model: Model,
    palette: Palette,
    host: HTMLElement,
  ) {
    const said = d === 'tx' ? 'All VMs send' : 'All VMs receive';
    host.append(h('section', { class: `sum ${d}`, 'aria-label': said }, h('p', { class: 'usage' }, h('span', { class: 'direction' }, d, h('span', { class: 'verb' }, said)), this.number, this.unit, this.of), this.plot, this.bar));
    for (let i = 0; i < parts; i++) this.bar.append(h('i'));
    this.chart = new Chart(this.plot, d, palette, 0);
  }

  update(): void {
    const { timeline, interval } = this.model;
    const capacity = this.model.capacity[this.d];
    const [n, unit] = readable(this.model.sum[this.d]);
    setText(this.number, n);
    setText(this.unit, unit);
    setText(this.percent, capacity === Infinity ? '' : `${Math.round((this.model.sum[this.d] / capacity) * 100)} %`);
    setText(this.link, capacity === Infinity ? '' : ` of ${readable(capacity).join(' ')}`);
    const since = timeline.last - spanMS;
    this.chart.load(timeline, this.model.total[this.d], since - 2 * interval);
    this.chart.marks = { capacity, guarantee: 0 };
    this.wanted = wantedTop(this.wanted, timeline.peak(this.model.total[this.d].usage, since), Infinity);
    if (capacity < this.wanted * 4) this.wanted = Math.max(this.wanted, capacity * 1.15);
    this.top ||= this.wanted;
    this.drawn = NaN;
    this.share(capacity);
  }

  /** share shows as one bar who takes how much of the link, the largest first. */
  private share(capacity: number): void {
    const byVM = new Map<string, number>();
    for (const v of this.model.present()) byVM.set(v.status.vm, (byVM.get(v.status.vm) ?? 0) + v.status[this.d].usage);
    const largest = [...byVM].sort((a, b) => b[1] - a[1]);
    const shown = largest.slice(0, parts - 1);
    const rest = largest.slice(parts - 1).reduce((sum, [, usage]) => sum + usage, 0);
    if (rest > 0) shown.push([`${largest.length - parts + 1} others`, rest]);
    const whole = capacity === Infinity ? Math.max(1, this.model.sum[this.d]) : Math.max(capacity, this.model.sum[this.d]);
    const room = this.bar.clientWidth;
    [...this.bar.children].forEach((e, i) => {
      const [name = '', usage = 0] = shown[i] ?? [];
      const part = e as HTMLElement;
      part.style.flexBasis = `${((usage / whole) * 100).toFixed(2)}%`;
      part.title = name && `${name}: ${readable(usage).join(' ')}`;
      setText(part, (usage / whole) * room > 7 * name.length + 8 ? name : '');
    });
  }

  frame(f: Frame): void {
    const before = this.top;
    this.top = f.still ? this.wanted : glide(this.top, this.wanted, f.ms);
    if (this.top === before && Math.abs(f.edge - this.drawn) < this.chart.grain) return;
    this.chart.draw(f.edge, this.top);
    this.drawn = f.edge;
  }

  resize(): void {
    this.chart.resize();
    this.drawn = NaN;
  }

  recolour(p: Palette): void {
    this.chart.recolour(p);
    this.drawn = NaN;
  }
}

export class Host {
  private readonly sums: Sum[];

  constructor(model: Model, palette: Palette) {
    const root = must('#host');
    this.sums = directions.map((d) => new Sum(d, model, palette, root));
    new ResizeObserver(() => this.sums.forEach((s) => s.resize())).observe(root);
  }

  update(): void {
    this.sums.forEach((s) => s.update());
  }

  frame(f: Frame): void {
    this.sums.forEach((s) => s.frame(f));
  }

  recolour(p: Palette): void {
    this.sums.forEach((s) => s.recolour(p));
  }
}
