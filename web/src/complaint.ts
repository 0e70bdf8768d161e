// What was wrong with a request, where it was made.

import { h, icon } from './dom';
import type { Problem } from './wire';
import { t } from './texts';
import { inWords } from './writer';

/** complaint is what was wrong, what stayed and what to try, and a button that closes it. */
export function complaint(p: Problem, close: () => void): Node[] {
  const words = h('p', { class: 'problem' }, h('strong', {}, ...(t.codes[p.code] ? [`${t.codes[p.code]}: `] : []), sentence(p.message)));
  if (p.unchanged) words.append(' ', sentence(p.unchanged));
  if (p.try) words.append(' ', h('span', { class: 'try' }, t.tries, p.try));
  words.title = inWords(p);
  return [words, h('button', { class: 'plain', title: t.close, 'aria-label': t.close, click: close }, icon('M4 4l8 8M12 4l-8 8'))];
}

function sentence(s: string): string {
  const text = s[0]?.toUpperCase() + s.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
