// What the other vifs use, and, while a line is moved, what each would get: a ghost on its own chart.

import { sized } from './canvas';
import { h, setText } from './dom';
import type { Model, VIF } from './model';
import type { Palette } from './palette';
import { readable } from './rate';
import { type Ghost, spark } from './spark';
import { hasToken } from './token';
import { t } from './texts';
import type { Direction, Effect } from './wire';

const shown = 24;

export class Neighbours {
  readonly element: HTMLElement;
  private readonly title = h('h3');
  private readonly hint = h('span');
  private readonly give = h('button', { hidden: true, click: () => void this.askToken().then(() => this.told()) }, t.giveToken);
  private readonly list = h('ul', { class: 'neighbours' });
  private readonly tiles: Tile[] = [];
  private d: Direction = 'tx';
  private effects: Map<string, Effect> | undefined;

  constructor(
    private readonly model: Model,
    private palette: Palette,
    private readonly askToken: () => Promise<boolean>,
  ) {
    this.element = h('section', {}, this.title, h('p', { class: 'hint' }, this.hint, ' ', this.give), this.list);
  }

  /** told says what the ghosts are, or what they need. */
  private told(): void {
    setText(this.hint, hasToken() ? t.neighboursHint : t.needsToken);
    this.give.hidden = hasToken();
  }

  recolour(p: Palette): void {
    this.palette = p;
  }

  /** foretell shows a dry run's effects; undefined ends it. */
  foretell(d: Direction, effects: Effect[] | undefined): void {
    this.d = d;
    this.effects = effects && new Map(effects.map((e) => [e.key, e]));
  }

  update(own: string): void {
    const { d, effects, model } = this;
    const ghost = (v: VIF): Ghost | undefined => {
      const e = effects?.get(v.key)?.[d];
      if (!e) return undefined;
      const { before, after } = e.now ?? e;
      return { before: before ?? model.capacity[d], after: after ?? model.capacity[d] };
    };
    const moved = (v: VIF) => {
      const g = ghost(v);
      return g ? Math.abs(g.after - g.before) : 0;
    };
    const others = [...model.present()].filter((v) => v.status.vm !== own && v.status.uuid !== own);
    const top = others.map((v) => ({ v, by: [moved(v), v.status[d].usage] as const })).sort((a, b) => b.by[0] - a.by[0] || b.by[1] - a.by[1]).slice(0, shown);
    this.element.hidden = top.length === 0;
    setText(this.title, effects ? t.neighbours : `${t.neighboursNow} · ${d}`);
    this.told();
    while (this.tiles.length > top.length) this.tiles.pop()?.element.remove();
    top.forEach(({ v }, i) => {
      let tile = this.tiles[i];
      if (!tile) {
        this.tiles.push((tile = new Tile()));
        this.list.append(tile.element);
      }
      tile.show(v, ghost(v), d, model, this.palette);
    });
  }
}

class Tile {
  private readonly name = h('a');
  private readonly rate = h('span');
  private readonly canvas = h('canvas', { 'aria-hidden': 'true' });
  readonly element = h('li', {}, h('p', {}, this.name, this.rate), this.canvas);
  private draw = () => {};

  constructor() {
    sized(this.canvas, () => this.draw());
  }

  show(v: VIF, ghost: Ghost | undefined, d: Direction, model: Model, palette: Palette): void {
    setText(this.name, v.status.vm);
    this.name.href = `#/vm/${encodeURIComponent(v.status.uuid || v.status.vm)}`;
    setText(this.rate, ghost ? `${readable(ghost.before).join(' ')} → ${readable(ghost.after).join(' ')}` : readable(v.status[d].usage).join(' '));
    this.element.classList.toggle('moved', !!ghost && Math.abs(ghost.after - ghost.before) > ghost.before * 0.01);
    this.draw = () => spark(this.canvas, palette, d, model.timeline, v.lines[d].usage, v.status[d], model.capacity[d], false, ghost);
    this.draw();
  }
}
