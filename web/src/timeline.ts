// The recent past of everything shown: one axis of times, and a ring of values for each line on it.

/** A Series holds one value for each time of its Timeline, NaN where nothing is known. */
export type Series = Float32Array;

export class Timeline {
  private readonly at: Float64Array;
  private readonly all = new Set<Series>();
  private next = 0; // how many times were ever begun

  constructor(readonly size: number) {
    this.at = new Float64Array(size);
  }

  /** series makes a new line, with nothing known so far. */
  series(): Series {
    const s = new Float32Array(this.size).fill(NaN);
    this.all.add(s);
    return s;
  }

  forget(s: Series): void {
    this.all.delete(s);
  }

  /** The newest time in ms, or -Infinity. */
  get last(): number {
    return this.next === 0 ? -Infinity : (this.at[(this.next - 1) % this.size] ?? NaN);
  }

  /** begin makes ms the newest time, with nothing known of it yet; false if it is not newer. */
  begin(ms: number): boolean {
    if (!(ms > this.last)) return false;
    const slot = this.next++ % this.size;
    this.at[slot] = ms;
    for (const s of this.all) s[slot] = NaN;
    return true;
  }

  /** set gives a line its value at the newest time. */
  set(s: Series, value: number): void {
    s[(this.next - 1) % this.size] = value;
  }

  /** times copies the times from since on into out, in seconds as uPlot wants them, and the one before. */
  times(since: number, out: number[]): void {
    out.length = 0;
    for (let i = this.first(since); i < this.next; i++) out.push((this.at[i % this.size] ?? 0) / 1000);
  }

  /** values copies a line's values beside [times]; null is a gap. */
  values(s: Series, since: number, out: (number | null)[]): void {
    out.length = 0;
    for (let i = this.first(since); i < this.next; i++) {
      const v = s[i % this.size] ?? NaN;
      out.push(Number.isNaN(v) ? null : v);
    }
  }

  /** each calls take with every known value of a line since then. */
  each(s: Series, since: number, take: (at: number, value: number) => void): void {
    for (let i = this.first(since); i < this.next; i++) {
      const v = s[i % this.size] ?? NaN;
      if (!Number.isNaN(v)) take(this.at[i % this.size] ?? 0, v);
    }
  }

  /** sum adds up what is known since then. */
  sum(s: Series, since: number): number {
    let sum = 0;
    this.each(s, since, (_, v) => (sum += v));
    return sum;
  }

  /** peak is the highest known value since then, or 0. */
  peak(s: Series, since: number): number {
    let most = 0;
    for (let i = this.first(since); i < this.next; i++) {
      const v = s[i % this.size] ?? 0;
      if (v > most) most = v;
    }
    return most;
  }

  private first(since: number): number {
    let i = this.next;
    const oldest = Math.max(0, this.next - this.size);
    while (i > oldest && (this.at[(i - 1) % this.size] ?? 0) >= since) i--;
    return Math.max(oldest, i - 1);
  }
}
