// Vifs that are not there, and for which something is kept: only where the daemon lists such.

import { h, must } from './dom';
import { t } from './texts';
import { nameOf, type VIFStatus } from './wire';

/** showAbsent lists them, each with a button that drops what is kept. */
export function showAbsent(absent: Iterable<VIFStatus>, forget: (v: VIFStatus) => Promise<void>): void {
  const list = must('#absent');
  const items = [...absent].map((v) => {
    const button = h('button', { title: t.forgetNote, 'aria-label': `${t.forget}: ${nameOf(v)}`, click: () => {
      button.disabled = true;
      void forget(v).finally(() => (button.disabled = false));
    } }, t.forget);
    return h('li', { title: t.absentNote }, h('b', {}, nameOf(v)), t.absent, button);
  });
  list.replaceChildren(...items);
  list.hidden = items.length === 0;
}
