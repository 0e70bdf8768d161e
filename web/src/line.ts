// The limit as a line across the chart, that a hand or a key moves.
// While it is moved a ghost shows where it would go; the line itself moves when the kernel has.

import { guaranteeAt, guaranteeByKey, limitAt, limitByKey, underHand } from './drag';
import { h, setText } from './dom';
import { t } from './texts';
import { formatRate, minLimit } from './rate';

export interface LineEvents {
  begin(): void; // the line was taken up
  preview(limit: number | undefined): void; // it would go there; undefined: nothing is asked for any more
  commit(limit: number): void; // it was let go there
}

/** A press moves this far before it is a drag, px. */
const slack = 3;

export class Line {
  private readonly line: HTMLElement;
  private readonly tab: HTMLElement;
  private readonly ghost: HTMLElement;
  private readonly level: HTMLElement;
  private readonly draft: HTMLElement; // where a draft has it
  private planned: number | undefined;
  private limit = Infinity;
  private asked: number | undefined; // where the ghost is
  private ceiling = Infinity;
  private top = 1;
  private height = 1;
  private hand: { id: number; grip: number; y: number; from: number; moved: boolean } | undefined;

  constructor(
    over: HTMLElement,
    name: string,
    private readonly events: LineEvents,
    private readonly kind: 'limit' | 'guarantee' = 'limit',
  ) {
    if (kind === 'guarantee') this.limit = 0;
    this.tab = h('span', { class: 'line-tab' });
    this.line = h('div', {
      class: `line ${kind}`,
      role: 'slider',
      tabindex: 0,
      'aria-label': name,
      'aria-orientation': 'vertical',
      'aria-valuemin': kind === 'limit' ? minLimit : 0,
      pointerdown: (e: PointerEvent) => this.take(e),
      pointermove: (e: PointerEvent) => this.move(e),
      pointerup: (e: PointerEvent) => this.release(e),
      pointercancel: () => this.cancel(),
      keydown: (e: KeyboardEvent) => this.key(e),
      blur: () => this.hand || this.sending || this.cancel(),
    }, this.tab);
    this.ghost = h('div', { class: `ghost ${kind}`, 'aria-hidden': 'true', hidden: true }, h('span', { class: 'line-tab' }));
    this.draft = h('div', { class: `ghost planned ${kind}`, 'aria-hidden': 'true', hidden: true }, h('span', { class: 'line-tab' }));
    this.level = h('div', { class: 'level' });
    if (kind === 'limit') over.append(h('div', { class: 'post', 'aria-hidden': 'true' }, this.level));
    over.append(this.draft, this.ghost, this.line);
  }

  /** Whether a hand is on the line, so that nothing may be moved from under it. */
  get held(): boolean {
    return this.hand?.moved ?? false;
  }

  /** Whether the ghost is shown and its limit is not yet on its way. */
  get asking(): boolean {
    return this.asked !== undefined && !this.sending;
  }

  private get sending(): boolean {
    return this.ghost.classList.contains('sending');
  }

  /** set tells the limit in force. */
  set(limit: number, ceiling: number): void {
    this.limit = limit;
    this.ceiling = ceiling;
    this.tell();
  }

  /** plan shows where a draft has it; undefined is nowhere. */
  plan(value: number | undefined): void {
    if (value === this.planned) return;
    this.planned = value;
    this.draft.hidden = value === undefined;
    if (value !== undefined) setText(this.draft.firstElementChild ?? this.draft, `${t.draft}: ${this.spell(value)}`);
    this.tell();
    this.place(this.top, this.height, NaN);
  }

  /** place puts everything where the chart's axis says. */
  place(top: number, height: number, usage: number): void {
    this.top = top;
    this.height = height;
    const y = this.yOf(this.limit);
    this.line.style.transform = `translateY(${y.toFixed(1)}px)`;
    this.line.classList.toggle('none', this.limit === (this.kind === 'limit' ? Infinity : 0));
    this.line.classList.toggle('beyond', this.limit !== Infinity && this.limit > top * 1.001);
    if (!Number.isNaN(usage)) this.level.style.transform = `scaleY(${Math.min(1, usage / top).toFixed(4)})`;
    for (const [ghost, at] of [[this.ghost, this.asked], [this.draft, this.planned]] as const) {
      if (at === undefined) continue;
      const lifted = at === Infinity;
      ghost.style.transform = `translateY(${(lifted ? -10 : this.yOf(at)).toFixed(1)}px)`;
      ghost.classList.toggle('lifted', lifted);
    }
  }

  /** underHand is the axis's end while the line is held: it gives way at the ends. */
  underHand(top: number, ms: number): number {
    if (!this.held || !this.hand) return top;
    const next = underHand(top, this.hand.y, this.height, ms, this.ceiling);
    if (next !== top) {
      this.top = next;
      this.ask(this.at(this.hand.y, next));
    }
    return next;
  }

  /** done takes the ghost away: what was asked for is in force, or was refused. */
  done(): void {
    this.ghost.classList.remove('sending');
    this.ask(undefined);
  }

  private yOf(limit: number): number {
    return limit === Infinity ? 0 : this.height * (1 - Math.min(1, limit / this.top));
  }

  private at(y: number, top: number): number {
    return (this.kind === 'limit' ? limitAt : guaranteeAt)(y, this.height, top, this.ceiling);
  }

  private take(e: PointerEvent): void {
    if (e.button !== 0 || this.hand || this.sending) return;
    const y = e.clientY - (this.line.parentElement?.getBoundingClientRect().top ?? 0);
    this.hand = { id: e.pointerId, grip: y - this.yOf(this.limit), y, from: e.clientY, moved: false };
    this.line.setPointerCapture(e.pointerId);
    this.line.focus({ preventScroll: true });
    this.line.classList.add('held');
    e.preventDefault();
  }

  private move(e: PointerEvent): void {
    const hand = this.hand;
    if (!hand || hand.id !== e.pointerId) return;
    if (!hand.moved) {
      if (Math.abs(e.clientY - hand.from) < slack) return;
      hand.moved = true;
      this.events.begin();
    }
    hand.y = e.clientY - (this.line.parentElement?.getBoundingClientRect().top ?? 0) - hand.grip;
    this.ask(this.at(hand.y, this.top));
  }

  private release(e: PointerEvent): void {
    const hand = this.hand;
    if (!hand || hand.id !== e.pointerId) return;
    this.hand = undefined;
    this.line.classList.remove('held');
    if (hand.moved) this.commit();
  }

  private key(e: KeyboardEvent): void {
    if (this.sending || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'Escape') this.cancel();
    else if ((e.key === 'Enter' || e.key === ' ') && this.asked !== undefined && !this.hand) this.commit();
    else {
      const next = (this.kind === 'limit' ? limitByKey : guaranteeByKey)(e.key, this.asked ?? this.limit, this.ceiling, this.top);
      if (next === undefined) return;
      if (this.asked === undefined) this.events.begin();
      this.ask(next);
    }
    e.preventDefault();
  }

  private commit(): void {
    const limit = this.asked;
    if (limit === undefined || limit === this.limit) return this.cancel();
    this.send(limit);
    this.events.commit(limit);
  }

  /** send shows limit as on its way. */
  send(limit: number): void {
    this.ask(limit);
    this.ghost.classList.add('sending');
  }

  private cancel(): void {
    this.hand = undefined;
    this.line.classList.remove('held');
    this.done();
  }

  private ask(limit: number | undefined): void {
    if (limit === this.asked) return;
    this.asked = limit;
    this.ghost.hidden = limit === undefined;
    this.line.classList.toggle('asking', limit !== undefined);
    if (limit !== undefined) setText(this.ghost.firstElementChild ?? this.ghost, this.spell(limit));
    this.tell();
    this.place(this.top, this.height, NaN);
    this.events.preview(limit);
  }

  private spell(v: number): string {
    if (this.kind === 'guarantee') return `${t.guarantee} ${v ? formatRate(v) : t.none}`;
    return v === Infinity ? t.unlimited : formatRate(v);
  }

  private tell(): void {
    setText(this.tab, this.spell(this.limit));
    const most = this.ceiling;
    const value = this.asked ?? this.limit;
    const now = formatRate(this.limit) + (this.planned === undefined ? '' : `; ${t.draft}: ${formatRate(this.planned)}`);
    const text = this.asked === undefined ? now : t.wouldBe(now, formatRate(this.asked));
    const set = (name: string, v: string) => this.line.getAttribute(name) === v || this.line.setAttribute(name, v);
    set('aria-valuemax', String(most));
    set('aria-valuenow', String(Math.min(most, value)));
    set('aria-valuetext', text);
  }
}
