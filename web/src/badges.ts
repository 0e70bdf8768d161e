// Who says what about a vif: small words at the card's head, each with a sentence behind it.

import { h, setText } from './dom';
import { readable } from './rate';
import { t } from './texts';
import type { VIFStatus } from './wire';

export interface Badge {
  kind: 'busy' | 'fault' | 'warn' | 'quiet';
  text: string;
  note: string;
}

const notEnforced = t.notEnforcedShort;

/** badgesOf are what is to be said of a vif beside its figures. */
export function badgesOf(s: VIFStatus): Badge[] {
  const badges: Badge[] = [];
  if (s.not_enforced) badges.push({ kind: 'fault', text: notEnforced, note: t.badge.notEnforced(s.not_enforced) });
  if (s.state !== 'Connected') badges.push({ kind: 'busy', text: s.state, note: t.badge.busy });
  if (s.problem) {
    badges.push({ kind: 'warn', text: t.collectorLost, note: t.badge.unheard(`${s.problem[0]?.toUpperCase()}${s.problem.slice(1)}`) });
  } else if (s.guest) {
    const says = t.badge.says(readable(s.guest.tx).join(' '), readable(s.guest.rx).join(' '));
    if (s.guest.disagrees) badges.push({ kind: 'warn', text: t.badge.disagrees, note: says + t.badge.disagreesNote });
    else badges.push({ kind: 'quiet', text: t.badge.agrees, note: says + t.badge.agreesNote });
  } else badges.push({ kind: 'quiet', text: t.badge.host, note: t.badge.hostNote });
  if (s.profile) badges.push({ kind: 'quiet', text: t.badge.profile(s.profile), note: t.badge.profileNote((s.own ?? []).filter((f) => f !== 'profile').join(', ').replaceAll('.', ' ')) });
  return badges;
}

/** Badges shows them as buttons; one pressed opens its sentence in [Badges.note]. */
export class Badges {
  readonly element = h('ul', { class: 'badges' });
  readonly note = h('p', { class: 'note', hidden: true });
  private shown: Badge[] = [];
  private open = notEnforced; // the text of the badge whose note is shown: this one until it is closed

  update(s: VIFStatus): void {
    const now = badgesOf(s);
    const same = now.length === this.shown.length && now.every((b, i) => b.text === this.shown[i]?.text);
    this.shown = now;
    if (!same) this.element.replaceChildren(...now.map((b) => h('li', {}, this.button(b))));
    this.tell();
  }

  private button(b: Badge): HTMLElement {
    return h('button', { class: b.kind, 'aria-expanded': 'false', click: () => {
      this.open = this.open === b.text ? '' : b.text;
      this.tell();
    } }, b.text);
  }

  private tell(): void {
    for (const e of this.element.querySelectorAll('button')) {
      const b = this.shown.find((o) => o.text === e.textContent);
      e.title = b?.note ?? '';
      e.setAttribute('aria-expanded', String(b?.text === this.open));
    }
    const note = this.shown.find((b) => b.text === this.open)?.note ?? '';
    this.note.hidden = note === '';
    setText(this.note, note);
  }
}
