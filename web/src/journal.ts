// The journal: what was changed lately, by whom, what became of it, and a way back.

import { h, must, setText } from './dom';
import type { Model } from './model';
import { type Change, nameOf } from './wire';
import { t } from './texts';
import { differences, formatMS, resultOf, said } from './way';
import type { Writer } from './writer';

export class Journal {
  private readonly panel = must('#journal');
  private readonly list = must('#journal ol');
  private readonly button = must<HTMLButtonElement>('#journal-toggle');

  constructor(
    private readonly model: Model,
    private readonly writer: Writer,
  ) {
    this.button.addEventListener('click', () => this.show(this.panel.hidden));
    must('#journal .close').addEventListener('click', () => {
      this.show(false);
      this.button.focus();
    });
    this.panel.addEventListener('keydown', (e) => {
      if (e.key !== 'Escape') return;
      this.show(false);
      this.button.focus();
    });
  }

  /** update shows what changed, if anybody looks. */
  update(): void {
    setText(must('#journal-toggle .count'), this.model.changes.length ? String(this.model.changes[0]?.id) : '');
    if (this.panel.hidden) return;
    must('#journal .none').hidden = this.model.changes.length > 0;
    const undone = new Set(this.model.changes.filter((c) => c.result === 'done' && c.undoes).map((c) => c.undoes));
    this.list.replaceChildren(...this.model.changes.map((c) => this.entry(c, undone.has(c.id))));
  }

  private show(yes: boolean): void {
    this.panel.hidden = !yes;
    this.button.setAttribute('aria-expanded', String(yes));
    document.body.classList.toggle('with-journal', yes);
    this.update();
    if (yes) this.panel.focus();
  }

  private entry(c: Change, undone: boolean): HTMLElement {
    const result = resultOf(c, undone);
    const head = h('p', { class: 'head' }, h('b', {}, nameOf(c)), h('span', { class: `result ${result.kind}` }, result.text));
    const when = h('time', { datetime: c.at, title: c.at }, new Date(c.at).toLocaleTimeString());
    const foot = h('p', { class: 'foot' }, `#${c.id} · `, when, ` · ${c.by || t.unknownPerson}`, c.result === 'pending' || c.note ? '' : ` · ${formatMS(c.took_ns / 1e6)}`);
    const item = h('li', {}, head, h('p', { class: c.note ? 'found' : 'difference' }, said(c)), foot);
    if (c.error) item.append(h('p', { class: 'problem' }, c.error));
    if (c.result === 'done' && !undone && !c.note) {
      const undo = h('button', { class: 'undo', 'aria-label': t.undoOf(`${c.id}, ${nameOf(c)} ${differences(c)}`), click: () => {
        undo.disabled = true;
        void this.writer.undo(c).finally(() => this.update());
      } }, t.undo);
      foot.append(undo);
    }
    return item;
  }
}
