// One vif: its two directions, what is wrong with it, and the last change's way.

import { Badges } from './badges';
import { complaint } from './complaint';
import { h } from './dom';
import type { Model, VIF } from './model';
import type { Palette } from './palette';
import { type Frame, Pane } from './pane';
import { t } from './texts';
import { directions } from './wire';
import { differences, formatMS, steps } from './way';
import type { Writer } from './writer';

/** A Card is an empty shell of the right size until it comes near the screen. */
export class Card {
  readonly element: HTMLElement;
  private readonly name = h('h3');
  private readonly badges = new Badges();
  private readonly panes = h('div', { class: 'panes' });
  private readonly outcome = h('div', { class: 'outcome' });
  private inside: Pane[] = [];
  private told = ''; // what outcome shows

  constructor(
    readonly v: VIF,
    private readonly model: Model,
    private readonly writer: Writer,
    private readonly alone: () => boolean, // whether its VM has no other vif here
  ) {
    this.element = h('article', { class: 'card', 'data-key': v.key }, h('header', {}, this.name, this.badges.element), this.badges.note, this.panes, this.outcome);
    this.title();
  }

  get mounted(): boolean {
    return this.inside.length > 0;
  }

  get busy(): boolean {
    return this.inside.some((p) => p.busy) || this.element.contains(document.activeElement);
  }

  mount(palette: Palette): void {
    if (this.mounted) return;
    this.inside = directions.map((d) => new Pane(this.v, d, this.model, this.writer, palette, this.panes, (p) => {
      this.v.problem = p;
      this.showOutcome();
    }));
    this.update();
  }

  /** unmount empties the card; sure: also while the person is at work in it. */
  unmount(sure = false): void {
    if (!sure && this.busy) return;
    for (const p of this.inside) p.destroy();
    this.inside = [];
  }

  update(): void {
    this.title();
    if (!this.mounted) return;
    for (const p of this.inside) p.update();
    this.badges.update(this.v.status);
    this.showOutcome();
  }

  frame(f: Frame): boolean {
    let drew = false;
    for (const p of this.inside) drew = p.frame(f) || drew;
    return drew;
  }

  resize(): void {
    for (const p of this.inside) p.resize();
  }

  recolour(p: Palette): void {
    for (const pane of this.inside) pane.recolour(p);
  }

  private title(): void {
    const s = this.v.status;
    const rest = `vif ${s.vif} · ${s.device}${s.group ? ` · ${t.groupLabel(s.group)}` : ''}`;
    if (this.name.dataset['shown'] === `${s.vm} ${rest} ${this.alone()}`) return;
    this.name.dataset['shown'] = `${s.vm} ${rest} ${this.alone()}`;
    const vm = h('span', { class: 'vm', title: s.uuid ?? s.vm }, s.vm);
    const detail = h('span', { class: 'device', title: s.mac ?? '' }, rest);
    this.name.replaceChildren(vm, ' ', detail);
    this.name.classList.toggle('sibling', !this.alone());
  }

  private showOutcome(): void {
    const { problem, change } = this.v;
    const undone = this.model.changes.some((c) => c.undoes === change?.id && c.result === 'done');
    const left = change?.until && !change.confirmed_by ? Math.max(0, Math.ceil((Date.parse(change.until) - Date.now()) / 1000)) : 0;
    const now = JSON.stringify([problem, change?.id, change?.result, change?.states, undone, left]);
    if (now === this.told) return;
    this.told = now;
    this.outcome.classList.toggle('failed', !!problem);
    if (problem) this.outcome.replaceChildren(...complaint(problem, () => {
      this.v.problem = undefined;
      this.showOutcome();
    }));
    else if (change) this.outcome.replaceChildren(...this.way(undone));
    else this.outcome.replaceChildren(h('p', { class: 'hint' }, t.hint));
  }

  /** way is the change's path through the back-end's states. */
  private way(undone: boolean): Node[] {
    const c = this.v.change;
    if (!c) return [];
    const path = h('ol', { class: 'way', 'aria-label': t.stateWay });
    for (const s of steps(c)) path.append(h('li', { class: s.state.toLowerCase() }, h('span', { class: 'state' }, s.state), h('span', { class: 'ms' }, formatMS(s.ms))));
    const said = c.result === 'pending' ? t.under : c.result === 'undone' ? `${t.undone}: ${c.error ?? ''}` : c.verified ? t.verified : t.done;
    const words = h('p', { class: 'what' }, h('span', { class: 'difference' }, differences(c)), h('span', { class: `result ${c.result}` }, said));
    const reverts = c.until && !c.confirmed_by && !undone && Date.parse(c.until) > Date.now();
    if (reverts && c.until) {
      const at = new Date(c.until).toLocaleTimeString([], { hourCycle: 'h23' });
      const s = Math.round((Date.parse(c.until) - Date.now()) / 1000);
      const left = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
      words.append(h('span', { class: 'reverts' }, (c.confirm ? t.unlessConfirmed : t.revertsIn)(at, left)));
    }
    const children: Node[] = [h('div', {}, words, path)];
    if (reverts && c.confirm) children.push(h('button', { class: 'primary', click: () => void this.writer.confirm(c).then(() => this.showOutcome()) }, t.confirm));
    if (c.result === 'done' && !undone) {
      const button = h('button', { class: 'undo', click: () => {
        button.disabled = true;
        void this.writer.undo(c).finally(() => (button.disabled = false));
      } }, t.undo);
      button.setAttribute('aria-label', t.undoOf(`${differences(c)}, ${c.vm} vif ${c.vif}`));
      children.push(button);
    }
    return children;
  }
}
