// One direction of one vif in a table's row: its last two minutes, and its usage against its limit.

import { begin } from './canvas';
import { spanMS } from './model';
import type { Palette } from './palette';
import type { Series, Timeline } from './timeline';
import { type Direction, type DirectionStatus, limitOf } from './wire';

export interface Ghost {
  before: number;
  after: number;
}

/** spark draws usage as an area over the last two minutes; ghosts are what is got now and would be. */
export function spark(canvas: HTMLCanvasElement, p: Palette, d: Direction, timeline: Timeline, usage: Series, s: DirectionStatus, capacity: number, bar: boolean, ghost?: Ghost): void {
  const pen = begin(canvas);
  if (!pen) return;
  const { ctx, width, height } = pen;
  const water = p[d];
  const room = bar ? Math.round(width * 0.58) : width;
  const since = timeline.last - spanMS;
  const top = Math.max(20e3, timeline.peak(usage, since) * 1.1, ghost ? Math.max(ghost.before, ghost.after) * 1.1 : 0);
  const bottom = height - 1.5;
  const yOf = (v: number) => bottom - (Math.min(v, top) / top) * (height - 3);
  ctx.beginPath();
  let from = -1;
  let last = 0;
  timeline.each(usage, since, (at, v) => {
    const x = ((at - since) / spanMS) * room;
    if (from < 0) ctx.moveTo((from = x), yOf(v));
    else ctx.lineTo(x, yOf(v));
    last = x;
  });
  if (from >= 0) {
    ctx.strokeStyle = water;
    ctx.lineWidth = 1.2;
    ctx.stroke();
    ctx.lineTo(last, bottom);
    ctx.lineTo(from, bottom);
    ctx.fillStyle = `${water}33`;
    ctx.fill();
  }
  const across = (v: number, colour: string, dash: number[]) => {
    ctx.setLineDash(dash);
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    ctx.moveTo(0, yOf(v));
    ctx.lineTo(width, yOf(v));
    ctx.stroke();
  };
  if (ghost) {
    across(ghost.before, p.muted, []);
    across(ghost.after, p.change, [5, 3]);
    ctx.setLineDash([]);
  }
  if (bar) level(ctx, p, water, room + 8, width - room - 9, height, s, capacity);
}

/** level is usage against the limit, as one bar; without a limit against the link, or nothing. */
function level(ctx: CanvasRenderingContext2D, p: Palette, water: string, x: number, width: number, height: number, s: DirectionStatus, capacity: number): void {
  const limit = limitOf(s.limit);
  const whole = limit === Infinity ? capacity : limit;
  const thick = Math.min(8, Math.max(4, Math.round(height * 0.32)));
  const y = Math.round((height - thick) / 2);
  ctx.fillStyle = p.grid;
  ctx.fillRect(x, y, width, limit === Infinity ? 1 + thick / 4 : thick);
  if (whole === Infinity) return;
  const part = Math.min(1, s.usage / whole);
  ctx.fillStyle = limit !== Infinity && part > 0.95 ? p.change : water;
  ctx.fillRect(x, y, Math.max(s.usage > 0 ? 1 : 0, part * width), limit === Infinity ? 1 + thick / 4 : thick);
  if (limit !== Infinity) {
    ctx.fillStyle = p.change;
    ctx.fillRect(x + width - 1.5, y - 2, 2, thick + 4);
  }
  if (s.guarantee > 0) {
    ctx.fillStyle = p.ink;
    ctx.fillRect(x + Math.min(1, s.guarantee / whole) * width - 1, y - 2, 1.5, thick + 4);
  }
}
