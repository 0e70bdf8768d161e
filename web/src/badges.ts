// Who says what about a vif: small words at the card's head, each with a sentence behind it.

import { h, setText } from './dom';
import { readable } from './rate';
import type { VIFStatus } from './wire';

export interface Badge {
  kind: 'busy' | 'fault' | 'warn' | 'quiet';
  text: string;
  note: string;
}

const notEnforced = 'not enforced';

/** badgesOf are what is to be said of a vif beside its figures. */
export function badgesOf(s: VIFStatus): Badge[] {
  const badges: Badge[] = [];
  if (s.not_enforced) badges.push({ kind: 'fault', text: notEnforced, note: `Its frames do not obey what is set: ${s.not_enforced}.` });
  if (s.state !== 'Connected') badges.push({ kind: 'busy', text: s.state, note: 'The driver layer is at work on a change.' });
  if (s.problem) {
    badges.push({ kind: 'warn', text: 'collector not heard', note: `${s.problem[0]?.toUpperCase()}${s.problem.slice(1)}. The host's counters are shown.` });
  } else if (s.guest) {
    const says = `The VM's own collector says it sends ${readable(s.guest.tx).join(' ')} and receives ${readable(s.guest.rx).join(' ')}`;
    if (s.guest.disagrees) badges.push({ kind: 'warn', text: 'guest disagrees', note: `${says}. The host counted something else, and that is what is shown.` });
    else badges.push({ kind: 'quiet', text: 'guest agrees', note: `${says}; the host's counters agree.` });
  } else badges.push({ kind: 'quiet', text: 'host counters', note: "This VM has no collector; the host's counters are shown." });
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
