// The link in one direction: who uses it, stacked, with what is guaranteed, reserved and free drawn in.

import { begin, sized } from './canvas';
import { h, setText } from './dom';
import { type Model, spanMS, type VIF } from './model';
import type { Palette } from './palette';
import { readable } from './rate';
import { niceTop, ticks } from './scale';
import { t } from './texts';
import type { Direction } from './wire';

/** VMs drawn by themselves; the rest is one more layer. */
export const slots = 6;

/** Layers gives the VMs that use most a colour each, the same in both directions, and lets them keep it. */
export class Layers {
  readonly vms: (string | undefined)[] = Array.from({ length: slots }, () => undefined);
  readonly vifs = new Map<string, VIF[]>();
  private chosen = -Infinity;

  update(model: Model, now: number): void {
    this.vifs.clear();
    for (const v of model.present()) {
      const list = this.vifs.get(v.status.vm);
      if (list) list.push(v);
      else this.vifs.set(v.status.vm, [v]);
    }
    if (now - this.chosen < 5000 && this.vms.every((vm) => vm === undefined || this.vifs.has(vm)) && this.vms.some((vm) => vm)) return;
    this.chosen = now;
    const since = model.timeline.last - 30_000;
    const used = [...this.vifs].map(([vm, vifs]) => ({ vm, sum: vifs.reduce((n, v) => n + model.timeline.sum(v.lines.tx.usage, since) + model.timeline.sum(v.lines.rx.usage, since), 0) }));
    const top = used.sort((a, b) => b.sum - a.sum).slice(0, slots).filter((u) => u.sum > 0).map((u) => u.vm);
    this.vms.forEach((vm, i) => {
      if (vm !== undefined && !top.includes(vm)) this.vms[i] = undefined;
    });
    for (const vm of top) if (!this.vms.includes(vm)) this.vms[this.vms.indexOf(undefined)] = vm;
  }
}

export class Stack {
  readonly element: HTMLElement;
  private readonly number = h('b');
  private readonly unit = h('span', { class: 'unit' });
  private readonly of = h('span', { class: 'of' });
  private readonly canvas = h('canvas', { role: 'img', 'aria-label': '' });
  private readonly legend = h('ul', { class: 'legend' });
  private top = 0;

  constructor(
    private readonly d: Direction,
    private readonly model: Model,
    private readonly layers: Layers,
    private palette: Palette,
    private readonly open: (vm: string) => void,
  ) {
    const said = d === 'tx' ? t.allSend : t.allReceive;
    this.canvas.setAttribute('aria-label', t.linkChart(d));
    this.element = h('section', { class: `sum ${d}`, 'aria-label': said },
      h('p', { class: 'usage' }, h('span', { class: 'direction' }, d, h('span', { class: 'verb' }, said)), this.number, this.unit, this.of),
      this.canvas, this.legend);
    sized(this.canvas, () => this.draw());
  }

  recolour(p: Palette): void {
    this.palette = p;
    this.draw();
  }

  update(): void {
    const capacity = this.model.capacity[this.d];
    const used = this.model.sum[this.d];
    const [n, unit] = readable(used);
    setText(this.number, n);
    setText(this.unit, unit);
    setText(this.of, capacity === Infinity ? t.noCapacity : `${Math.round((used / capacity) * 100)} % ${t.of(readable(capacity).join(' '))}`);
    this.name();
    this.draw();
  }

  /** name writes who is drawn in which colour, and how much each uses now. */
  private name(): void {
    const rows: { name: string; usage: number; slot: number }[] = [];
    let rest = this.model.sum[this.d];
    this.layers.vms.forEach((vm, slot) => {
      if (vm === undefined) return;
      const usage = (this.layers.vifs.get(vm) ?? []).reduce((sum, v) => sum + v.status[this.d].usage, 0);
      rest -= usage;
      rows.push({ name: vm, usage, slot });
    });
    rows.sort((a, b) => b.usage - a.usage);
    const others = this.layers.vifs.size - rows.length;
    if (others > 0) rows.push({ name: t.others(others), usage: Math.max(0, rest), slot: slots });
    while (this.legend.children.length > rows.length) this.legend.lastElementChild?.remove();
    rows.forEach((r, i) => {
      let item = this.legend.children[i] as HTMLElement | undefined;
      if (!item) this.legend.append((item = h('li', {}, h('i'), h('button', { class: 'plain-text' }), h('span'))));
      const [mark, name, usage] = [...item.children] as [HTMLElement, HTMLButtonElement, HTMLElement];
      mark.className = `stack-${r.slot + 1}`;
      setText(name, r.name);
      name.disabled = r.slot === slots;
      name.onclick = () => this.open(r.name);
      setText(usage, readable(r.usage).join(' '));
    });
  }

  draw(): void {
    const pen = begin(this.canvas);
    if (!pen) return;
    const { ctx, width, height } = pen;
    const { timeline, link } = this.model;
    const capacity = this.model.capacity[this.d];
    const known = capacity !== Infinity;
    const since = timeline.last - spanMS;
    const peak = timeline.peak(this.model.total[this.d].usage, since);
    // All of the link, unless so little of it is used that nothing could be told apart.
    const wanted = known && peak > capacity * 0.25 ? Math.max(capacity, peak) : niceTop(Math.max(100e3, peak * 1.2));
    if (wanted > this.top || wanted < this.top * 0.6 || wanted === capacity) this.top = wanted;
    const whole = this.top;
    const gauge = known ? Math.round(parseFloat(this.palette.font) * 12) : 0;
    const room = width - gauge - (known ? 14 : 0);
    const yOf = (v: number) => height - 1 - (Math.min(v, whole) / whole) * (height - 4);
    const xOf = (at: number) => ((at - since) / spanMS) * room;
    const p = this.palette;
    ctx.font = p.font;

    ctx.strokeStyle = p.grid;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const v of [0, ...ticks(whole)]) {
      ctx.moveTo(0, Math.round(yOf(v)) + 0.5);
      ctx.lineTo(room, Math.round(yOf(v)) + 0.5);
    }
    ctx.stroke();

    // The layers, from below: each one's line is the sum of all below it.
    const times: number[] = [];
    const total: number[] = [];
    timeline.each(this.model.total[this.d].usage, since, (at, v) => {
      times.push(at);
      total.push(v);
    });
    const index = new Map(times.map((at, i) => [at, i]));
    let below: Float64Array = new Float64Array(times.length);
    const fill = (upper: Float64Array, colour: string) => {
      ctx.beginPath();
      times.forEach((at, i) => (i ? ctx.lineTo(xOf(at), yOf(upper[i] ?? 0)) : ctx.moveTo(xOf(at), yOf(upper[i] ?? 0))));
      for (let i = times.length - 1; i >= 0; i--) ctx.lineTo(xOf(times[i] ?? 0), yOf(below[i] ?? 0));
      ctx.closePath();
      ctx.fillStyle = colour;
      ctx.fill();
      below = upper;
    };
    this.layers.vms.forEach((vm, slot) => {
      const upper = below.slice();
      for (const v of (vm !== undefined && this.layers.vifs.get(vm)) || [])
        timeline.each(v.lines[this.d].usage, since, (at, n) => {
          const i = index.get(at);
          if (i !== undefined) upper[i] = (upper[i] ?? 0) + n;
        });
      if (vm !== undefined) fill(upper, p.stack[slot] ?? p.muted);
    });
    fill(Float64Array.from(total, (v, i) => Math.max(v, below[i] ?? 0)), p.stack[slots] ?? p.muted);

    if (known) {
      const reserve = (capacity * (link?.reserve ?? 0)) / 100;
      const guaranteed = link?.guaranteed[this.d] ?? 0;
      if (guaranteed > 0 && guaranteed < whole) this.across(ctx, yOf(guaranteed), room, p.ink, [4, 3]);
      if (capacity <= whole * 1.001) {
        this.hatch(ctx, 0, yOf(capacity), room, yOf(capacity - reserve) - yOf(capacity), p.muted);
        this.across(ctx, yOf(capacity), room, p.muted, []);
      }
      this.gauge(ctx, width - gauge, gauge, height, capacity, reserve, guaranteed);
    }
    ctx.textAlign = 'left';
    ctx.lineJoin = 'round';
    let under = Infinity; // where the word under this one is
    for (const v of ticks(whole)) {
      const y = yOf(v) - 3;
      if (under - y < parseFloat(p.font) * 1.1) continue; // no room for it
      this.write(ctx, `${Number(readable(v)[0])} ${readable(v)[1]}`, p.muted, 2, y);
      under = y;
    }
  }

  /** gauge is the whole link beside the chart: guaranteed below, free, and reserved above. */
  private gauge(ctx: CanvasRenderingContext2D, x: number, width: number, height: number, capacity: number, reserve: number, guaranteed: number): void {
    const p = this.palette;
    const bar = 12;
    const yOf = (v: number) => height - 1 - (Math.min(v, capacity) / capacity) * (height - 4);
    const [low, high] = [yOf(guaranteed), yOf(capacity - reserve)];
    ctx.fillStyle = p.grid;
    ctx.fillRect(x, yOf(capacity), bar, height - 1 - yOf(capacity));
    ctx.fillStyle = p.muted;
    ctx.fillRect(x, low, bar, height - 1 - low);
    this.hatch(ctx, x, yOf(capacity), bar, high - yOf(capacity), p.muted);
    ctx.fillStyle = p[this.d];
    const used = yOf(this.model.sum[this.d]);
    ctx.fillRect(x + bar, used, 3, height - 1 - used);
    const says: [string, number, number][] = [[t.reserve, yOf(capacity), reserve], [t.free, high, Math.max(0, capacity - reserve - guaranteed)], [t.guaranteed, low, guaranteed]];
    const line = Math.max(11, parseFloat(p.font) * 1.25);
    const two = height > line * 6.4 && width > 0;
    let above = -Infinity;
    ctx.textAlign = 'left';
    says.forEach(([name, y, value], i) => {
      const need = two ? 2 * line : line;
      const at = Math.min(Math.max(y, above), height - need * (says.length - i));
      above = at + need;
      const text = readable(value).join(' ');
      if (two) {
        this.write(ctx, name, p.muted, x + bar + 9, at + line - 2);
        this.write(ctx, text, p.ink, x + bar + 9, at + 2 * line - 3);
      } else this.write(ctx, `${name} ${text.replace('bit/s', '')}`, p.muted, x + bar + 9, at + line - 2);
    });
  }

  private write(ctx: CanvasRenderingContext2D, text: string, colour: string, x: number, y: number): void {
    ctx.lineWidth = 3;
    ctx.setLineDash([]);
    ctx.strokeStyle = this.palette.surface;
    ctx.strokeText(text, x, y);
    ctx.fillStyle = colour;
    ctx.fillText(text, x, y);
  }

  private across(ctx: CanvasRenderingContext2D, y: number, width: number, colour: string, dash: number[]): void {
    ctx.setLineDash(dash);
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(0, Math.round(y) + 0.5);
    ctx.lineTo(width, Math.round(y) + 0.5);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  private hatch(ctx: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, colour: string): void {
    if (height < 1) return;
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y, width, height);
    ctx.clip();
    ctx.strokeStyle = `${colour}55`;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (let at = x - height; at < x + width; at += 6) {
      ctx.moveTo(at, y + height);
      ctx.lineTo(at + height, y);
    }
    ctx.stroke();
    ctx.restore();
  }
}
