// The language that a person reads: chosen by hand, else as the browser says.

import { en, type Texts } from './en';
import { zh } from './zh';

const kept = 'sluice.language';
type Language = 'en' | 'zh';
const asked = typeof localStorage === 'undefined' ? null : localStorage.getItem(kept);
export const language: Language = asked === 'en' || asked === 'zh' ? asked : typeof navigator !== 'undefined' && navigator.language.startsWith('zh') ? 'zh' : 'en';

export const t: Texts = language === 'zh' ? zh : en;

/** otherLanguage keeps the other language as the choice, and loads the page anew. */
export function otherLanguage(): void {
  localStorage.setItem(kept, language === 'en' ? 'zh' : 'en');
  location.reload();
}

/** fill gives the elements of index.html their words: data-text names a text, data-label one for aria-label. */
export function fill(root: ParentNode): void {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  const words = t as unknown as Record<string, unknown>;
  for (const e of root.querySelectorAll<HTMLElement>('[data-text], [data-label], [data-title], [data-placeholder]')) {
    const { text, label, title, placeholder } = e.dataset;
    if (text) e.textContent = String(words[text]);
    if (label) e.setAttribute('aria-label', String(words[label]));
    if (title) e.title = String(words[title]);
    if (placeholder) e.setAttribute('placeholder', String(words[placeholder]));
  }
}
