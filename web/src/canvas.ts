// Drawing on a canvas of the size that the style sheet gives it.

/** Every canvas's size in CSS pixels, so that drawing asks for no layout. */
const sizes = new WeakMap<Element, { width: number; height: number }>();
const observer = typeof ResizeObserver === 'undefined' ? undefined : new ResizeObserver((entries) => {
  for (const e of entries) {
    sizes.set(e.target, e.contentRect);
    listeners.get(e.target)?.();
  }
});
const listeners = new WeakMap<Element, () => void>();

/** sized has the canvas drawn again when its size changes. */
export function sized(canvas: HTMLCanvasElement, draw: () => void): void {
  listeners.set(canvas, draw);
  observer?.observe(canvas);
}

export interface Pen {
  ctx: CanvasRenderingContext2D;
  width: number;
  height: number;
}

/** begin is a cleared canvas with a pen that writes in CSS pixels; undefined while it has no size. */
export function begin(canvas: HTMLCanvasElement): Pen | undefined {
  const { width = 0, height = 0 } = sizes.get(canvas) ?? {};
  if (width < 4 || height < 4) return undefined;
  const px = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * px), Math.round(height * px)];
  const ctx = canvas.getContext('2d', { alpha: true });
  if (!ctx) return undefined;
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  } else ctx.clearRect(0, 0, w, h);
  ctx.setTransform(px, 0, 0, px, 0, 0);
  return { ctx, width, height };
}
