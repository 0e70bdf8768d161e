// The overview's table: a row per vif, of which only those on the screen are made.

import { sized } from './canvas';
import { h, must, setText } from './dom';
import type { Looks } from './look';
import { type Model, type VIF } from './model';
import type { Palette } from './palette';
import { formatRate, readable } from './rate';
import { spark } from './spark';
import { t } from './texts';
import { type Direction, directions, limitOf } from './wire';

type Item = { kind: 'vif'; v: VIF } | { kind: 'head'; text: string; group: string };

export interface Showing {
  query: string;
  sort: string;
  group: string; // only this group's members
}

const ids = ['name', 'tx', 'rx', 'guarantee', 'weight', 'group', 'drops', 'state', 'change'] as const;
const spare = 4; // rows made beyond the screen
const rest = 3000; // ms between two orders of rows

export class Table {
  readonly element: HTMLElement;
  showing: Showing = { query: '', sort: '', group: '' };
  private readonly head = h('div', { class: 'thead', role: 'row' });
  private readonly body = h('div', { class: 'tbody', role: 'rowgroup' });
  private items: Item[] = [];
  private readonly rows: Row[] = [];
  private readonly folded = new Set<string>();
  private active = 0;
  private height = 32;
  private ordered = -Infinity;
  private touched = -Infinity; // by a pointer
  private asked = 0;

  constructor(
    private readonly model: Model,
    private readonly looks: Looks,
    private palette: Palette,
    private readonly open: (v: VIF) => void,
    private readonly openGroup: (name: string) => void,
    private readonly sorted: (sort: string) => void,
    private readonly counted: (shown: number, all: number, vms: number) => void,
  ) {
    for (const id of ids) {
      const [title = '', tip = ''] = t.columns[id] ?? [];
      const button = h('button', { title: tip, click: () => this.sortBy(id) }, title);
      this.head.append(h('div', { class: `c-${id}`, role: 'columnheader', 'data-column': id }, button));
    }
    this.element = h('div', { class: 'table', role: 'treegrid', tabindex: 0, 'aria-label': t.table, keydown: (e: KeyboardEvent) => this.key(e), pointermove: () => (this.touched = performance.now()) },
      h('div', { role: 'rowgroup', class: 'tophead' }, this.head), this.body);
    const again = () => {
      this.asked ||= requestAnimationFrame(() => {
        this.asked = 0;
        this.place();
      });
    };
    window.addEventListener('scroll', again, { passive: true });
    window.addEventListener('resize', again);
  }

  recolour(p: Palette): void {
    this.palette = p;
    this.place(true);
  }

  /** update shows a new data set. */
  update(now: number, anew = false): void {
    const present = [...this.model.present()];
    const count = this.items.filter((i) => i.kind === 'vif').length;
    if (anew || count === 0 || (now - this.ordered > rest && now - this.touched > rest)) this.order(present, now);
    else this.place(true);
  }

  private order(present: VIF[], now: number): void {
    this.ordered = now;
    const activeKey = this.keyAt(this.active);
    const words = this.showing.query.toLowerCase().split(/\s+/).filter((w) => w);
    const of = this.showing.group;
    const shown = present.filter((v) => (!of || v.status.group === of) && matches(v, words));
    this.counted(shown.length, present.length, new Set(present.map((v) => v.status.uuid || v.status.vm)).size);
    const down = this.showing.sort.startsWith('-');
    const by = this.showing.sort.replace('-', '');
    const compare = order(by, this.model);
    shown.sort((a, b) => (down ? -compare(a, b) : compare(a, b)) || byName(a, b));
    const look = shown.filter((v) => this.looks.of(v)).sort((a, b) => (this.looks.of(a)?.rank ?? 9) - (this.looks.of(b)?.rank ?? 9));
    const items: Item[] = [];
    const take = (list: VIF[]) => list.forEach((v) => items.push({ kind: 'vif', v }));
    if (look.length > 0) {
      items.push({ kind: 'head', text: t.look(look.length), group: '' });
      take(look);
    }
    const calm = shown.filter((v) => !this.looks.of(v));
    const groups = [...new Set(calm.map((v) => v.status.group).filter((g): g is string => !!g))].sort();
    if (groups.length === 0 || of || (by !== '' && by !== 'name' && by !== 'group')) {
      if (look.length > 0 && calm.length > 0) items.push({ kind: 'head', text: t.table, group: '' });
      take(calm);
    } else {
      for (const g of groups) {
        const members = calm.filter((v) => v.status.group === g);
        items.push({ kind: 'head', text: `${t.groupLabel(g)} · ${t.members(members.length)}`, group: g });
        if (!this.folded.has(g)) take(members);
      }
      const free = calm.filter((v) => !v.status.group);
      if (free.length > 0) items.push({ kind: 'head', text: t.noGroup, group: '' });
      take(free);
    }
    this.items = items;
    this.active = Math.max(0, activeKey ? items.findIndex((i) => i.kind === 'vif' && i.v.key === activeKey) : 0);
    this.head.querySelectorAll('[data-column]').forEach((e) => {
      const mine = (e as HTMLElement).dataset['column'] === (by || 'name');
      e.setAttribute('aria-sort', mine ? (down ? 'descending' : 'ascending') : 'none');
    });
    this.place(true);
  }

  /** place makes the rows that can be seen; anew: what they show has changed too. */
  private place(anew = false): void {
    if (this.element.offsetParent === null) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const box = this.body.getBoundingClientRect();
    const above = box.top + window.scrollY;
    // As tall as lets all rows be seen at once, within what can be read and what is worth the room.
    const narrow = innerWidth < 640;
    const fits = (innerHeight - above - 10) / Math.max(1, this.items.length);
    const height = narrow ? 60 * rem : Math.max(this.items.length <= 44 ? 12.5 * rem : 24 * rem, Math.min(34 * rem, fits));
    const resized = height !== this.height;
    this.height = height;
    this.element.style.setProperty('--row', `${height}px`);
    this.body.style.height = `${this.items.length * height}px`;
    this.element.setAttribute('aria-rowcount', String(this.items.length + 1));
    const first = Math.max(0, Math.floor(-box.top / height) - spare);
    const last = Math.min(this.items.length, Math.ceil((innerHeight - box.top) / height) + spare);
    const size = last - first;
    if (this.rows.length - size > 12) for (const row of this.rows.splice(0)) row.element.remove(); // all anew: the indexes' modulus changes
    while (this.rows.length < size) {
      const row = new Row(this.model, this.looks);
      row.element.addEventListener('click', () => this.enter(row.index));
      this.rows.push(row);
      this.body.append(row.element);
    }
    // A row keeps its element while it is on the screen: index modulo the number of elements.
    const n = this.rows.length;
    const used = new Set<Row>();
    for (let i = first; i < last; i++) {
      const row = this.rows[i % n];
      const item = this.items[i];
      if (!row || !item) continue;
      used.add(row);
      row.show(i, item, height, this.palette, this.folded, anew || resized);
      row.element.classList.toggle('active', i === this.active);
    }
    for (const row of this.rows) if (!used.has(row)) row.hide();
    if (this.active >= first && this.active < last) this.element.setAttribute('aria-activedescendant', `row-${this.active}`);
    else this.element.removeAttribute('aria-activedescendant');
  }

  private keyAt(i: number): string | undefined {
    const item = this.items[i];
    return item?.kind === 'vif' ? item.v.key : undefined;
  }

  private sortBy(id: string): void {
    const now = this.showing.sort;
    const firstDown = !['name', 'group', 'state'].includes(id);
    const sort = now.replace('-', '') === id ? (now.startsWith('-') ? id : `-${id}`) : firstDown ? `-${id}` : id;
    this.sorted(sort);
  }

  private enter(i: number): void {
    const item = this.items[i];
    if (!item) return;
    this.active = i;
    if (item.kind === 'vif') this.open(item.v);
    else if (item.group) this.fold(item.group);
  }

  private fold(group: string, folded = !this.folded.has(group)): void {
    if (folded) this.folded.add(group);
    else this.folded.delete(group);
    this.update(performance.now(), true);
  }

  private key(e: KeyboardEvent): void {
    if (e.target !== this.element || e.ctrlKey || e.metaKey || e.altKey) return;
    const page = Math.max(1, Math.floor(innerHeight / this.height) - 4);
    const step: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const item = this.items[this.active];
    const move = step[e.key];
    if (move !== undefined) {
      this.active = Math.min(this.items.length - 1, Math.max(0, this.active + move));
      const bare = this.items[this.active]; // a heading that does nothing is stepped over
      if (bare?.kind === 'head' && !bare.group) this.active = Math.max(0, Math.min(this.items.length - 1, this.active + (move < 0 && this.active > 0 && move !== -Infinity ? -1 : 1)));
      this.touched = performance.now();
      this.reveal();
    } else if (e.key === 'Enter') {
      if (item?.kind === 'head' && item.group) this.openGroup(item.group);
      else this.enter(this.active);
    } else if (e.key === ' ') this.enter(this.active);
    else if ((e.key === 'ArrowLeft' || e.key === 'ArrowRight') && item?.kind === 'head' && item.group) this.fold(item.group, e.key === 'ArrowLeft');
    else return;
    e.preventDefault();
  }

  /** reveal scrolls the active row onto the screen. */
  private reveal(): void {
    const box = this.body.getBoundingClientRect();
    const top = box.top + this.active * this.height;
    const under = must('#top').offsetHeight + this.head.offsetHeight;
    if (top < under) window.scrollBy(0, top - under);
    else if (top + this.height > innerHeight) window.scrollBy(0, top + this.height - innerHeight + 4);
    this.place();
  }
}

/** Row is one element that shows whichever item is at its place. */
class Row {
  readonly element: HTMLElement;
  index = -1;
  private item: Item | undefined;
  private palette: Palette | undefined;
  private readonly cells: Record<string, HTMLElement> = {};
  private readonly canvases: Record<Direction, HTMLCanvasElement> = { tx: h('canvas', { 'aria-hidden': 'true' }), rx: h('canvas', { 'aria-hidden': 'true' }) };
  private readonly rates: Record<Direction, HTMLElement> = { tx: h('span', { class: 'rate' }), rx: h('span', { class: 'rate' }) };
  private readonly limits: Record<Direction, HTMLElement> = { tx: h('span', { class: 'most' }), rx: h('span', { class: 'most' }) };
  private readonly title = h('div', { class: 'group-title', role: 'gridcell' });

  constructor(
    private readonly model: Model,
    private readonly looks: Looks,
  ) {
    this.element = h('div', { class: 'row', role: 'row' }, this.title);
    for (const id of ids) {
      const cell = h('div', { class: `c-${id}`, role: 'gridcell' });
      this.cells[id] = cell;
      this.element.append(cell);
    }
    for (const d of directions) {
      this.cells[d]?.append(this.canvases[d], this.rates[d], this.limits[d]);
      sized(this.canvases[d], () => this.draw(d));
    }
  }

  hide(): void {
    this.element.hidden = true;
    this.index = -1;
  }

  show(index: number, item: Item, height: number, palette: Palette, folded: Set<string>, anew: boolean): void {
    this.element.hidden = false;
    if (index !== this.index || anew) {
      this.element.style.transform = `translateY(${index * height}px)`;
      this.element.id = `row-${index}`;
      this.element.setAttribute('aria-rowindex', String(index + 2));
    }
    const same = !anew && index === this.index && item === this.item;
    this.index = index;
    this.item = item;
    this.palette = palette;
    if (same) return;
    this.element.classList.toggle('section', item.kind === 'head');
    this.element.classList.toggle('foldable', item.kind === 'head' && item.group !== '');
    if (item.kind === 'head') {
      setText(this.title, item.group ? `${folded.has(item.group) ? '▸' : '▾'} ${item.text}` : item.text);
      this.element.dataset['look'] = '';
      if (item.group) this.element.setAttribute('aria-expanded', String(!folded.has(item.group)));
      else this.element.removeAttribute('aria-expanded');
      return;
    }
    this.element.removeAttribute('aria-expanded');
    this.tell(item.v);
    for (const d of directions) this.draw(d);
  }

  private set(id: string, text: string, title = text): void {
    const e = this.cells[id];
    if (!e) return;
    setText(e, text);
    if (e.title !== title) e.title = title;
  }

  private tell(v: VIF): void {
    const s = v.status;
    const look = this.looks.of(v);
    this.element.dataset['look'] = look?.kind ?? '';
    this.element.dataset['key'] = v.key;
    this.set('name', s.vif > 0 ? `${s.vm} · ${s.vif}` : s.vm, `${s.vm} vif ${s.vif} · ${s.device}${s.mac ? ` · ${s.mac}` : ''}`);
    for (const d of directions) {
      setText(this.rates[d], short(s[d].usage));
      const limit = limitOf(s[d].limit);
      setText(this.limits[d], limit === Infinity ? '' : `/ ${short(limit)}`);
    }
    const [tx, rx] = [s.tx.guarantee, s.rx.guarantee].map((g) => (g ? formatRate(g) : '–'));
    this.set('guarantee', tx === rx ? (tx ?? '') : `${tx} / ${rx}`);
    this.set('weight', s.tx.weight === s.rx.weight ? String(s.tx.weight) : `${s.tx.weight} / ${s.rx.weight}`);
    this.set('group', s.group ?? '');
    const drops = this.model.drops(v);
    this.set('drops', drops ? String(drops) : '');
    this.set('state', look?.text ?? s.state);
    this.set('change', lastChange(v), v.change?.at ?? '');
  }

  private draw(d: Direction): void {
    if (this.item?.kind !== 'vif' || !this.palette) return;
    const { v } = this.item;
    spark(this.canvases[d], this.palette, d, this.model.timeline, v.lines[d].usage, v.status[d], this.model.capacity[d], true);
  }
}

/** lastChange says when a vif was last changed, or when what is temporary reverts. */
export function lastChange(v: VIF): string {
  const c = v.change;
  if (!c) return '';
  if (c.until && !c.confirmed_by && Date.parse(c.until) > Date.now()) return t.reverts(new Date(c.until).toLocaleTimeString([], { hourCycle: 'h23' }));
  const s = Math.max(0, Math.round((Date.now() - Date.parse(c.at)) / 1000));
  if (s < 60) return t.ago(s, 's');
  if (s < 3600) return t.ago(Math.floor(s / 60), 'min');
  return s < 86400 ? t.ago(Math.floor(s / 3600), 'h') : t.ago(Math.floor(s / 86400), 'd');
}

const short = (rate: number): string => readable(rate).join(' ').replace('bit/s', rate < 1000 ? ' bit/s' : 'bit/s');

const names = new Intl.Collator(undefined, { numeric: true });
const byName = (a: VIF, b: VIF): number => names.compare(a.status.vm, b.status.vm) || a.status.vif - b.status.vif;

/** order compares two vifs by a column. */
function order(by: string, model: Model): (a: VIF, b: VIF) => number {
  const number = (of: (v: VIF) => number) => {
    const known = new Map<VIF, number>();
    const value = (v: VIF) => known.get(v) ?? (known.set(v, of(v)), known.get(v) ?? 0);
    return (a: VIF, b: VIF) => value(a) - value(b);
  };
  switch (by) {
    case 'tx':
    case 'rx':
      return number((v) => v.status[by].usage);
    case 'guarantee':
      return number((v) => v.status.tx.guarantee + v.status.rx.guarantee);
    case 'weight':
      return number((v) => v.status.tx.weight + v.status.rx.weight);
    case 'drops':
      return number((v) => model.drops(v));
    case 'change':
      return number((v) => v.change?.id ?? 0);
    case 'group':
      return (a, b) => names.compare(a.status.group ?? '\uffff', b.status.group ?? '\uffff');
    case 'state':
      return (a, b) => names.compare(a.status.state, b.status.state);
  }
  return byName;
}

function matches(v: VIF, words: string[]): boolean {
  if (words.length === 0) return true;
  const s = v.status;
  const text = `${s.vm} vif ${s.vif} ${s.device} ${s.mac} ${s.uuid} ${s.group ?? ''}`.toLowerCase();
  return words.every((w) => text.includes(w));
}
