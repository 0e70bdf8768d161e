// The y axis: linear, so that areas are honest, and following what is shown and dragged.

/** niceTop is the lowest calm number at or above v to end an axis with. */
export function niceTop(v: number): number {
  const ten = 10 ** Math.floor(Math.log10(v));
  for (const step of [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8]) if (v <= step * ten * (1 + 1e-9)) return step * ten;
  return 10 * ten;
}

/** The least an axis shows: an idle vif's chart must not magnify single packets. */
export const leastTop = 100e3;

/**
 * wantedTop is where the axis should end to show peak and limit with room above.
 * It keeps the present end while that is not far too high, so that the axis rests.
 */
export function wantedTop(present: number, peak: number, limit: number): number {
  const wanted = niceTop(Math.max(leastTop, peak * 1.15, limit === Infinity ? 0 : limit * 1.25));
  return present > wanted && present < wanted * 1.35 ? present : wanted;
}

/** glide moves the axis's end towards the wanted one, as ratios, within about half a second. */
export function glide(present: number, wanted: number, ms: number): number {
  const next = present * (wanted / present) ** (1 - Math.exp(-ms / 110));
  return Math.abs(next / wanted - 1) < 0.004 ? wanted : next;
}

/** ticks are two to five round values inside (0, top). */
export function ticks(top: number): number[] {
  const ten = 10 ** Math.floor(Math.log10(top / 2));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * ten).find((s) => top / s <= 4.2) ?? 10 * ten;
  const values: number[] = [];
  for (let v = step; v < top * 0.97; v += step) values.push(v);
  return values;
}
