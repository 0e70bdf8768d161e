// Beside every change: for how long, and whether at once or as part of a draft.

import type { ChangeRequest } from './api';
import { complaint } from './complaint';
import { h, icon, setText } from './dom';
import { formatRate } from './rate';
import { t } from './texts';
import { directions, nameOf, type Problem } from './wire';
import type { Asker, Writer } from './writer';

const choices = [
  { text: t.lasting, tip: '', lease: {} },
  { text: t.forTen, tip: t.forTenTip, lease: { for_s: 600 } },
  { text: t.untilConfirmed, tip: t.untilConfirmedTip, lease: { confirm_s: 60 } },
];

export class Leases implements Asker {
  private readonly said = h('span');
  private readonly items = h('ul', { class: 'drafted', 'aria-label': t.draft });
  private readonly wrong = h('div', { class: 'outcome failed', hidden: true });
  private readonly apply = h('button', { class: 'primary', click: () => void this.writer.applyDraft(this) }, t.applyAll);
  private readonly discard = h('button', { click: () => {
    this.problem = undefined;
    this.writer.collect(true);
  } }, t.discard);
  private readonly draft = h('input', { type: 'checkbox', change: () => this.writer.collect(this.draft.checked) });
  private readonly choice = h('fieldset', { class: 'leases' }, h('legend', {}, t.howLong));
  readonly element: HTMLElement;

  constructor(private readonly writer: Writer) {
    choices.forEach((c, i) => {
      const input = h('input', { type: 'radio', name: 'lease', checked: i === 0, change: () => (this.writer.lease = c.lease) });
      this.choice.append(h('label', { title: c.tip }, input, c.text));
    });
    this.element = h('div', { class: 'change-bar' }, this.choice, h('label', { title: t.draftTip }, this.draft, t.draft), this.said, this.apply, this.discard, this.items, this.wrong);
    writer.drafted = () => this.update();
    this.update();
  }

  set problem(p: Problem | undefined) {
    this.wrong.hidden = !p;
    if (p) this.wrong.replaceChildren(...complaint(p, () => (this.problem = undefined)));
  }

  private update(): void {
    const all = [...(this.writer.draft ?? [])];
    setText(this.said, all.length ? t.drafted(all.length) : '');
    this.apply.hidden = this.discard.hidden = this.items.hidden = all.length === 0;
    this.items.replaceChildren(...all.map(([key, r]) => {
      const what = spelt(r);
      return h('li', {}, what, h('button', { class: 'plain', title: t.draftRemove(what), 'aria-label': t.draftRemove(what), click: () => this.writer.uncollect(key) }, icon('M4 4l8 8M12 4l-8 8')));
    }));
  }
}

/** spelt is a collected change in words: "web: tx limit 8 Mbit/s, for 10 minutes". */
function spelt(r: ChangeRequest): string {
  const words: Record<string, string> = { limit: t.limit, guarantee: t.guarantee, weight: t.weight, priority: t.priority };
  const value = (field: string, v: number | 'unlimited') => (v === 'unlimited' ? t.unlimited : field === 'limit' || field === 'guarantee' ? formatRate(v) : String(v));
  const parts = directions.flatMap((d) => Object.entries(r[d] ?? {}).map(([field, v]) => `${d} ${words[field] ?? field} ${value(field, v)}`));
  if (r.for_s) parts.push(t.forTen);
  if (r.confirm_s) parts.push(t.untilConfirmed);
  return `${nameOf(r)}: ${parts.join(', ')}`;
}
