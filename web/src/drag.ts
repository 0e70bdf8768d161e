// What a hand, or a key, on the limit line means.

import { minLimit } from './rate';

/** So many pixels above the chart, letting go lifts the limit. */
export const liftAt = 14;

/** Parts of the chart's height near its ends in which the axis moves under the hand. */
const growZone = 0.1;
const shrinkZone = 0.14;

/** guaranteeAt is the guarantee there: none at the bottom, never above ceiling. */
export function guaranteeAt(y: number, height: number, top: number, ceiling: number): number {
  const value = round(top * (1 - Math.min(height, Math.max(0, y)) / height), top / height);
  return Math.min(ceiling, value);
}

/** guaranteeByKey is limitByKey for a guarantee: Home is none, End the most that there is. */
export function guaranteeByKey(key: string, value: number, ceiling: number, shown: number): number | undefined {
  if (key === 'Home' || (key === 'ArrowDown' && value <= minLimit)) return 0;
  if (key === 'End') return ceiling;
  const next = limitByKey(key, value || shown / 100, ceiling, shown);
  return next === undefined ? undefined : Math.min(ceiling, next);
}

/** limitAt is the limit for y pixels below the chart's top, on an axis of 0 to top over height pixels. */
export function limitAt(y: number, height: number, top: number, ceiling: number): number {
  if (y < -liftAt) return Infinity;
  const value = top * (1 - Math.max(0, y) / height);
  return Math.min(ceiling, Math.max(minLimit, round(value, top / height)));
}

/** round gives v the calmest value that is within about a pixel of it. */
export function round(v: number, perPixel: number): number {
  const ten = 10 ** Math.floor(Math.log10(perPixel));
  const step = Math.max(1, ([1, 2, 5].find((s) => s * ten >= perPixel) ?? 10) * ten);
  return Math.round(Math.round(v / step) * step);
}

/**
 * underHand is the axis's new end after the hand rested ms at y: near the top it
 * grows and near the bottom it shrinks, doubling in about 0.6 s at the very edge.
 * So every rate from minLimit to ceiling is within reach of one drag.
 */
export function underHand(top: number, y: number, height: number, ms: number, ceiling: number): number {
  const at = y / height;
  let pull = 0;
  if (at < growZone && y >= -liftAt) pull = Math.min(1, (growZone - at) / growZone);
  if (at > 1 - shrinkZone) pull = -Math.min(1, (at - 1 + shrinkZone) / shrinkZone);
  const next = top * 2 ** ((pull * ms) / 600);
  if (pull > 0) return Math.max(top, Math.min(next, ceiling * 1.2));
  if (pull < 0) return Math.min(top, Math.max(next, minLimit * 5));
  return top;
}

/**
 * limitByKey is the limit after a key on the focused line, or undefined for a
 * key that means nothing here. Arrows move the second digit, pages double and
 * halve; from no limit the way down begins at shown, the end of the axis.
 */
export function limitByKey(key: string, value: number, ceiling: number, shown: number): number | undefined {
  const within = (v: number) => Math.min(ceiling, Math.max(minLimit, Math.round(v)));
  switch (key) {
    case 'ArrowUp':
    case 'ArrowRight':
      return value >= ceiling ? Infinity : within(value + digit(value));
    case 'PageUp':
      return value >= ceiling ? Infinity : within(value * 2);
    case 'ArrowDown':
    case 'ArrowLeft':
      return within(value === Infinity ? shown : value - digit(value * 0.999));
    case 'PageDown':
      return within(value === Infinity ? shown : value / 2);
    case 'Home':
      return minLimit;
    case 'End':
      return Infinity;
  }
  return undefined;
}

/** digit is one step in v's second decimal digit. */
function digit(v: number): number {
  return 10 ** Math.max(0, Math.floor(Math.log10(v)) - 1);
}
