// One direction's chart: usage as water, what was waiting above it, the limits that were.

import uPlot from 'uplot';
import type { Palette } from './palette';
import { readable } from './rate';
import { ticks } from './scale';
import { t } from './texts';
import type { Timeline } from './timeline';
import type { Lines } from './model';
import { spanMS } from './model';
import type { Direction } from './wire';

const axisHeight = 18; // of the times below
const headroom = 14; // px above a chart with a line to drag, for its tab when it is all the way up
const halfClock = 26; // px, half of a time below: what would not fit whole is left out

export interface Marks {
  capacity: number; // Infinity where nobody said
  guarantee: number; // 0 is none
}

export class Chart {
  marks: Marks = { capacity: Infinity, guarantee: 0 };
  private readonly u: uPlot;
  private readonly times: number[] = [];
  private readonly values: (number | null)[][] = [[], [], []];
  private top = 1;

  /** A chart in host, leaving gutter pixels free at its right. */
  constructor(
    private readonly host: HTMLElement,
    d: Direction,
    private palette: Palette,
    gutter: number,
  ) {
    const water = d === 'tx' ? () => this.palette.tx : () => this.palette.rx;
    const line = { points: { show: false }, pxAlign: 0, scale: 'y' } as const;
    this.u = new uPlot(
      {
        ...this.size(),
        padding: [gutter > 0 ? headroom : 4, gutter, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        select: { show: false, left: 0, top: 0, width: 0, height: 0 },
        scales: { x: { time: false, auto: false }, y: { auto: false } },
        axes: [
          {
            size: axisHeight,
            gap: 3,
            space: 72,
            incrs: [10, 15, 30, 60],
            font: palette.font,
            stroke: () => this.palette.muted,
            grid: { show: false },
            ticks: { show: false },
            values: (u, splits) => splits.map((s) => this.clock(u, s)),
          },
          { show: false, scale: 'y' },
        ],
        series: [
          {},
          { ...line, stroke: water, width: 1.6, paths: uPlot.paths.spline!(), fill: (u) => this.gradient(u, water()) },
          { ...line, stroke: water, width: 1, dash: [2, 3], paths: uPlot.paths.spline!() },
          { ...line, stroke: () => `${this.palette.change}66`, width: 1, paths: uPlot.paths.stepped!({ align: 1 }) },
        ],
        hooks: { drawAxes: [(u) => this.drawTicks(u)], draw: [(u) => this.drawMarks(u)] },
      },
      [[], [], [], []],
      host,
    );
  }

  /** What lies over the plotting area, and exactly covers it. */
  get over(): HTMLElement {
    return this.u.over;
  }

  /** The plotting area's height in CSS pixels. */
  get height(): number {
    return this.u.bbox.height / uPlot.pxRatio;
  }

  /** So much time makes the chart move by half a device pixel, in ms: less is not worth drawing. */
  get grain(): number {
    return (spanMS / Math.max(1, this.u.bbox.width)) * 0.5;
  }

  /** load copies what happened since then. */
  load(timeline: Timeline, lines: Lines, since: number): void {
    timeline.times(since, this.times);
    [lines.usage, lines.demand, lines.limit].forEach((s, i) => timeline.values(s, since, this.values[i]!));
    this.u.setData([this.times, ...this.values] as uPlot.AlignedData, false);
  }

  /** draw shows the span that ends at edge (ms), up to top. */
  draw(edge: number, top: number): void {
    this.top = top;
    this.u.batch(() => {
      this.u.setScale('x', { min: (edge - spanMS) / 1000, max: edge / 1000 });
      this.u.setScale('y', { min: 0, max: top });
    });
  }

  resize(): void {
    this.u.setSize(this.size());
  }

  recolour(palette: Palette): void {
    this.palette = palette;
    this.u.redraw(true, true);
  }

  destroy(): void {
    this.u.destroy();
  }

  /** clock is a time of day, from seconds since the epoch, or "" where it would be cut off. */
  private clock(u: uPlot, s: number): string {
    const x = u.valToPos(s, 'x');
    if (x < halfClock || x > u.bbox.width / uPlot.pxRatio - halfClock) return '';
    const t = new Date(s * 1000);
    return [t.getHours(), t.getMinutes(), t.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(60, this.host.clientWidth), height: Math.max(60, this.host.clientHeight) };
  }

  private gradient(u: uPlot, colour: string): CanvasGradient {
    const g = u.ctx.createLinearGradient(0, u.bbox.top, 0, u.bbox.top + u.bbox.height);
    g.addColorStop(0, `${colour}66`);
    g.addColorStop(1, `${colour}14`);
    return g;
  }

  /** Rates are written inside, above their grid lines: no width is spent on an axis. */
  private drawTicks(u: uPlot): void {
    const { ctx, bbox } = u;
    const px = uPlot.pxRatio;
    ctx.save();
    ctx.strokeStyle = this.palette.grid;
    ctx.lineWidth = px;
    ctx.beginPath();
    for (const v of [0, ...ticks(this.top)]) {
      const y = Math.round(u.valToPos(v, 'y', true)) + 0.5 * (px % 2);
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
    }
    ctx.stroke();
    ctx.restore();
  }

  private drawMarks(u: uPlot): void {
    const { ctx, bbox } = u;
    const px = uPlot.pxRatio;
    ctx.save();
    ctx.font = this.palette.font.replace(/^[\d.]+/, (s) => String(Number(s) * px));
    ctx.textBaseline = 'alphabetic';
    // Words stand in a halo, so that they can be read where a line runs through them.
    const write = (text: string, colour: string, x: number, y: number) => {
      ctx.setLineDash([]);
      ctx.lineJoin = 'round';
      ctx.lineWidth = 4 * px;
      ctx.strokeStyle = this.palette.surface;
      ctx.strokeText(text, x, y);
      ctx.fillStyle = colour;
      ctx.fillText(text, x, y);
    };
    const across = (v: number, colour: string, dash: number[], text: string) => {
      if (!(v > 0 && v <= this.top)) return;
      const y = u.valToPos(v, 'y', true);
      ctx.strokeStyle = colour;
      ctx.setLineDash(dash.map((n) => n * px));
      ctx.lineWidth = 1.2 * px;
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.textAlign = 'right';
      write(text, colour, bbox.left + bbox.width - 6 * px, y - 4 * px);
    };
    across(this.marks.capacity, this.palette.capacity, [6, 4], t.link);
    across(this.marks.guarantee, this.palette.capacity, [1, 3], t.guarantee);
    ctx.textAlign = 'left';
    for (const v of ticks(this.top)) {
      const [n, unit] = readable(v);
      write(`${Number(n)} ${unit}`, this.palette.muted, bbox.left + 2 * px, u.valToPos(v, 'y', true) - 4 * px);
    }
    ctx.restore();
  }
}
