// One VM: its interfaces, each as a card with large charts.

import { Card } from './card';
import { Leases } from './leases';
import { Neighbours } from './neighbours';
import { h, must, setText, arrange } from './dom';
import type { Model, VIF } from './model';
import type { Palette } from './palette';
import type { Frame } from './pane';
import { t } from './texts';
import type { Writer } from './writer';

export class VMView {
  private readonly root = must('#vm-view');
  private readonly title = h('h2');
  private readonly cards = h('div', { id: 'vifs', tabindex: -1 });
  private readonly gone = h('p', { class: 'none', hidden: true });
  private readonly made = new Map<VIF, Card>();
  private readonly sizes: ResizeObserver;
  private readonly neighbours: Neighbours;
  private name = '';

  constructor(
    private readonly model: Model,
    private readonly writer: Writer,
    private palette: Palette,
    askToken: () => Promise<boolean>,
  ) {
    this.neighbours = new Neighbours(model, palette, askToken);
    this.root.append(h('p', { class: 'crumb' }, h('a', { href: '#/' }, `← ${t.back}`)), this.title, this.gone, new Leases(writer).element, this.cards, this.neighbours.element);
    writer.foretold = (d, effects) => {
      this.neighbours.foretell(d, effects);
      this.neighbours.update(this.name);
    };
    this.sizes = new ResizeObserver(() => this.made.forEach((c) => c.resize()));
    this.sizes.observe(this.cards);
  }

  /** show shows the VM of a name or UUID; "" is none. */
  show(name: string): void {
    this.name = name;
    this.root.hidden = name === '';
    this.update();
  }

  update(): void {
    if (!this.name) return this.clear();
    const vifs = [...this.model.present()].filter((v) => v.status.vm === this.name || v.status.uuid === this.name).sort((a, b) => a.status.vif - b.status.vif);
    for (const [v, card] of this.made) if (!vifs.includes(v)) this.drop(v, card);
    for (const v of vifs)
      if (!this.made.has(v)) {
        const card = new Card(v, this.model, this.writer, () => vifs.length < 2);
        this.made.set(v, card);
        this.cards.append(card.element);
        card.mount(this.palette);
      }
    arrange(this.cards, vifs.map((v) => (this.made.get(v) as Card).element));
    setText(this.title, vifs[0]?.status.vm ?? this.name);
    this.gone.hidden = vifs.length > 0;
    setText(this.gone, t.gone(this.name));
    for (const card of this.made.values()) card.update();
    this.neighbours.update(this.name);
  }

  frame(f: Frame): void {
    for (const card of this.made.values()) card.frame(f);
  }

  recolour(p: Palette): void {
    this.palette = p;
    this.neighbours.recolour(p);
    for (const card of this.made.values()) card.recolour(p);
  }

  private clear(): void {
    for (const [v, card] of this.made) this.drop(v, card);
  }

  private drop(v: VIF, card: Card): void {
    card.unmount(true);
    card.element.remove();
    this.made.delete(v);
  }
}
