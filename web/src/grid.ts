// All vifs as cards, those of a VM together. Only cards near the screen have anything inside.

import { Card } from './card';
import { h, setText, settle } from './dom';
import type { Model, VIF } from './model';
import type { Palette } from './palette';
import type { Frame } from './pane';
import type { Writer } from './writer';

export type Order = 'name' | 'usage';

const near = '400px'; // of the screen's edges
const budget = 7; // ms of one frame for drawing; the rest is drawn in the next

interface Group {
  element: HTMLElement;
  cards: Card[];
}

export class Grid {
  filter = '';
  order: Order = 'name';
  private readonly cards = new Map<string, Card>();
  private readonly groups = new Map<string, Group>();
  private readonly visible = new Set<Card>();
  private readonly toMount = new Set<Card>();
  private readonly byElement = new WeakMap<Element, Card>();
  private readonly screen: IntersectionObserver;
  private readonly sizes: ResizeObserver;
  private turn = 0; // whose chart is drawn first when a frame cannot draw all
  private sorted = -Infinity;

  constructor(
    private readonly root: HTMLElement,
    private readonly model: Model,
    private readonly writer: Writer,
    private palette: Palette,
    private readonly counted: (shown: number, all: number, vms: number) => void,
  ) {
    this.screen = new IntersectionObserver((entries) => {
      for (const e of entries) this.seen(e.target, e.isIntersecting);
    }, { rootMargin: near });
    this.sizes = new ResizeObserver((entries) => {
      for (const e of entries) this.byElement.get(e.target)?.resize();
    });
  }

  /** arrange brings cards and their order in line with the model. */
  arrange(now: number, anew = false): void {
    const present = [...this.model.present()];
    const shown = present.filter((v) => matches(v, this.filter));
    this.counted(shown.length, present.length, new Set(present.map(vmOf)).size);
    const keys = new Set(shown.map((v) => v.key));
    for (const [key, card] of this.cards) if (!keys.has(key)) this.remove(key, card);
    let fresh = false;
    for (const v of shown)
      if (this.cards.get(v.key)?.v !== v) {
        this.cards.set(v.key, this.make(v));
        fresh = true;
      }
    // Sorting by usage must not pull a card from under a hand, nor make a flicker of every tick.
    const restless = this.order === 'usage' && now - this.sorted > 4000 && ![...this.visible].some((c) => c.busy) && !this.root.matches(':hover');
    if (fresh || anew || restless || keys.size !== shown.length) this.lay(now);
  }

  /** update shows what the newest data set or change said, where it can be seen. */
  update(): void {
    for (const card of this.visible) card.update();
  }

  /** frame draws what moved, and mounts what came near, as far as the frame's time goes. */
  frame(f: Frame): void {
    const began = performance.now();
    const cards = [...this.visible];
    for (let i = 0; i < cards.length; i++) {
      const card = cards[(this.turn + i) % cards.length];
      if (card?.frame(f) && performance.now() - began > budget) {
        this.turn = (this.turn + i + 1) % cards.length;
        return;
      }
    }
    for (const card of this.toMount) {
      this.toMount.delete(card);
      card.mount(this.palette);
      this.visible.add(card);
      if (performance.now() - began > budget) return;
    }
  }

  recolour(p: Palette): void {
    this.palette = p;
    for (const card of this.visible) card.recolour(p);
  }

  private make(v: VIF): Card {
    const card = new Card(v, this.model, this.writer, () => (this.groups.get(vmOf(v))?.cards.length ?? 1) < 2);
    this.byElement.set(card.element, card);
    this.screen.observe(card.element);
    this.sizes.observe(card.element);
    return card;
  }

  private remove(key: string, card: Card): void {
    this.cards.delete(key);
    this.screen.unobserve(card.element);
    this.sizes.unobserve(card.element);
    this.seen(card.element, false);
    card.element.remove();
  }

  private seen(e: Element, yes: boolean): void {
    const card = this.byElement.get(e);
    if (!card) return;
    if (yes) this.toMount.add(card);
    else {
      this.toMount.delete(card);
      card.unmount();
      if (!card.mounted) this.visible.delete(card);
    }
  }

  /** lay puts the cards into their VMs' groups and the groups into order, moving only what must move. */
  private lay(now: number): void {
    this.sorted = now;
    const byVM = new Map<string, Card[]>();
    for (const card of this.cards.values()) {
      const list = byVM.get(vmOf(card.v));
      if (list) list.push(card);
      else byVM.set(vmOf(card.v), [card]);
    }
    for (const [vm, group] of this.groups)
      if (!byVM.has(vm)) {
        group.element.remove();
        this.groups.delete(vm);
      }
    for (const [vm, cards] of byVM) {
      cards.sort((a, b) => a.v.status.vif - b.v.status.vif);
      let group = this.groups.get(vm);
      if (!group) {
        group = { element: h('section', { class: 'vm-group' }, h('h2')), cards };
        this.groups.set(vm, group);
      }
      group.cards = cards;
      const title = group.element.firstElementChild as HTMLElement;
      const name = cards[0]?.v.status.vm ?? '';
      setText(title, cards.length > 1 ? `${name} · ${cards.length} interfaces` : name);
      group.element.classList.toggle('several', cards.length > 1);
      settle(group.element, [title, ...cards.map((c) => c.element)]);
      for (const c of cards) c.update();
    }
    const weight = (g: Group) => g.cards.reduce((sum, c) => sum + c.v.status.tx.usage + c.v.status.rx.usage, 0);
    const weights = new Map([...this.groups.values()].map((g) => [g, weight(g)]));
    const names = new Intl.Collator(undefined, { numeric: true });
    const byName = (a: Group, b: Group) => names.compare(a.cards[0]?.v.status.vm ?? '', b.cards[0]?.v.status.vm ?? '');
    const groups = [...this.groups.values()].sort((a, b) => (this.order === 'usage' ? (weights.get(b) ?? 0) - (weights.get(a) ?? 0) || byName(a, b) : byName(a, b)));
    settle(this.root, groups.map((g) => g.element));
  }
}

const vmOf = (v: VIF): string => v.status.uuid || v.status.vm;

function matches(v: VIF, filter: string): boolean {
  if (!filter) return true;
  const s = v.status;
  const text = `${s.vm} vif ${s.vif} ${s.device} ${s.mac ?? ''} ${s.uuid ?? ''} ${s.group ?? ''}`.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
