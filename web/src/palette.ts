// The colours of the canvases, out of the style sheet, and the choice of theme.

import { setText } from './dom';
import { t } from './texts';

export interface Palette {
  tx: string;
  rx: string;
  change: string; // what can be moved, or was
  ink: string;
  stack: string[]; // one a VM
  muted: string;
  surface: string;
  grid: string;
  capacity: string;
  font: string;
}

/** readPalette asks the style sheet; again after the theme changed. Colours come as #rrggbb. */
export function readPalette(): Palette {
  const probe = document.body.appendChild(document.createElement('i'));
  const colour = (name: string) => {
    probe.style.color = `var(${name})`;
    const parts = getComputedStyle(probe).color.match(/\d+/g) ?? [];
    return `#${parts.slice(0, 3).map((n) => Number(n).toString(16).padStart(2, '0')).join('')}`;
  };
  const palette = {
    tx: colour('--tx'),
    rx: colour('--rx'),
    change: colour('--change'),
    ink: colour('--ink'),
    stack: [1, 2, 3, 4, 5, 6, 7].map((n) => colour(`--stack-${n}`)),
    muted: colour('--muted'),
    surface: colour('--surface'),
    grid: colour('--grid'),
    capacity: colour('--capacity'),
    font: `${Math.round(parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.69)}px ${getComputedStyle(probe).fontFamily}`,
  };
  probe.remove();
  return palette;
}

const themes = ['auto', 'light', 'dark'] as const;
const themeKey = 'sluice.theme';

/** theme wires the button that goes round auto, light and dark; changed is called when colours may differ. */
export function theme(button: HTMLElement, changed: () => void): void {
  let at = Math.max(0, themes.indexOf((localStorage.getItem(themeKey) ?? 'auto') as (typeof themes)[number]));
  const show = () => {
    const name = themes[at] ?? 'auto';
    if (name === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = name;
    button.dataset['theme'] = name;
    button.title = t.theme(name);
    setText(button.querySelector('.label') ?? button, t.theme(name));
    changed();
  };
  button.addEventListener('click', () => {
    at = (at + 1) % themes.length;
    localStorage.setItem(themeKey, themes[at] ?? 'auto');
    show();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
  show();
}
