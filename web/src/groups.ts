// The host's groups, if it has any: what the members of each use together, and what they have together.

import type { API } from './api';
import { complaint } from './complaint';
import { h, must, setText, arrange } from './dom';
import { readable } from './rate';
import { t } from './texts';
import { Terms } from './terms';
import { type Direction, directions, type Group, type Patch, type Problem } from './wire';
import type { Writer } from './writer';

const pause = 2000; // ms between two questions
const most = 50; // shown

export class Groups {
  private readonly root = must('#groups');
  private readonly list = must('#groups ul');
  private readonly rows = new Map<string, Row>();
  private readonly more = h('li');
  /** The one group that is shown; "" is none. */
  only = '';
  private asked = -Infinity;

  constructor(
    private readonly api: API,
    private readonly writer: Writer,
  ) {}

  /** follow asks for them again, at once where something is known to have changed. */
  async follow(now: number, changed = false): Promise<void> {
    if (!changed && (now - this.asked < pause || !this.only)) return;
    this.asked = now;
    try {
      this.show(await this.api.groups());
    } catch (e) {
      console.info('the groups are not to be had:', e); // they are asked for again
    }
  }

  private show(groups: Group[]): void {
    groups = groups.filter((g) => g.name === this.only);
    this.root.hidden = groups.length === 0;
    const shown = groups.slice(0, most);
    for (const name of this.rows.keys()) if (!shown.some((g) => g.name === name)) this.rows.delete(name);
    const rows = shown.map((g) => {
      const row = this.rows.get(g.name) ?? new Row(g, this.writer, () => this.follow(performance.now(), true));
      this.rows.set(g.name, row);
      row.update(g);
      return row.element;
    });
    if (groups.length > most) {
      setText(this.more, `and ${groups.length - most} more: sluice group lists them`);
      rows.push(this.more);
    }
    arrange(this.list, rows);
    while (this.list.children.length > rows.length) this.list.lastElementChild?.remove();
  }
}

/** Row is one group. */
class Row {
  readonly element: HTMLLIElement;
  private readonly name = h('b');
  private readonly parent = h('span', { class: 'in' });
  private readonly members = h('span', { class: 'members' });
  private readonly usage: Record<Direction, HTMLElement> = { tx: h('span', { class: 'used' }), rx: h('span', { class: 'used' }) };
  private readonly terms: Terms[] = [];
  private readonly wrong = h('div', { class: 'outcome failed', hidden: true });

  constructor(
    private g: Group,
    private readonly writer: Writer,
    private readonly changed: () => Promise<void>,
  ) {
    setText(this.name, g.name);
    this.element = h('li', {}, h('p', {}, this.name, ' ', this.parent, this.members), ...directions.map((d) => this.side(d)), this.wrong);
  }

  /** problem is why the last request here was not granted. */
  set problem(p: Problem | undefined) {
    this.wrong.hidden = !p;
    if (p) this.wrong.replaceChildren(...complaint(p, () => (this.problem = undefined)));
  }

  /** update takes over what the daemon said last. */
  update(g: Group): void {
    this.g = g;
    setText(this.parent, g.parent === 'host' ? '' : t.inGroup(g.parent));
    setText(this.members, (g.members ?? []).join(', ') || t.noMembers);
    for (const d of directions) setText(this.usage[d], readable(g[d].usage).join(' '));
    for (const t of this.terms) t.show();
  }

  /** side is one direction's usage and terms. */
  private side(d: Direction): HTMLElement {
    const terms = new Terms(t.groupLabel(this.g.name), d, () => this.g[d], (patch) => void this.apply(d, patch), (p) => (this.problem = p));
    this.terms.push(terms);
    return h('div', { class: `terms ${d}` }, h('span', { class: 'direction' }, d), this.usage[d],
      h('label', { title: t.groupLimit }, t.limit, terms.limit.input), ...terms.others);
  }

  private async apply(d: Direction, patch: Patch): Promise<void> {
    this.problem = undefined;
    await this.writer.setGroup(this.g, d, patch, this);
    await this.changed();
  }
}
