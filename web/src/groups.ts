// The host's groups, if it has any: what the members of each use together, and what they have together.

import type { API } from './api';
import { h, must } from './dom';
import { formatRate, readable } from './rate';
import { directions, type Group, limitOf } from './wire';

const pause = 2000; // ms between two questions
const most = 50; // shown

export class Groups {
  private readonly root = must('#groups');
  private asked = -Infinity;

  constructor(private readonly api: API) {}

  /** follow asks for them again, at once where something is known to have changed. */
  async follow(now: number, changed = false): Promise<void> {
    if (!changed && (now - this.asked < pause || this.root.hidden)) return;
    this.asked = now;
    try {
      this.show(await this.api.groups());
    } catch (e) {
      console.info('the groups are not to be had:', e); // they are asked for again
    }
  }

  private show(groups: Group[]): void {
    this.root.hidden = groups.length === 0;
    const rows = groups.slice(0, most).map((g) => h('li', {}, h('b', {}, g.name), ...(g.parent === 'host' ? [] : [h('span', { class: 'in' }, `in ${g.parent}`)]),
      ...directions.map((d) => h('span', { class: d }, h('span', { class: 'direction' }, d), ` ${readable(g[d].usage).join(' ')}`, h('span', { class: 'of' }, terms(g, d)))),
      h('span', { class: 'members' }, g.members.join(', ') || 'no members')));
    if (groups.length > most) rows.push(h('li', {}, `and ${groups.length - most} more: sluice group lists them`));
    must('#groups ul').replaceChildren(...rows);
  }
}

function terms(g: Group, d: 'tx' | 'rx'): string {
  const { limit, guarantee, weight } = g[d];
  return ` of ${formatRate(limitOf(limit))}, guarantee ${guarantee ? formatRate(guarantee) : 'none'}, weight ${weight}`;
}
