// A value of the settings that a person types over: Enter applies it, Esc does not.

import { h } from './dom';
import type { Problem } from './wire';

export class Field {
  readonly input: HTMLInputElement;

  constructor(
    label: string,
    private readonly now: () => string, // what is set
    private readonly typed: (text: string) => Problem | undefined, // sends it, or says what is wrong with it
    private readonly complain: (p: Problem) => void,
  ) {
    this.input = h('input', {
      'aria-label': label,
      autocomplete: 'off',
      spellcheck: 'false',
      focus: () => this.input.select(),
      input: () => this.input.classList.remove('wrong'),
      blur: () => this.show(),
      keydown: (e: KeyboardEvent) => {
        if (e.key === 'Enter') this.enter();
        if (e.key === 'Escape') {
          this.input.classList.remove('wrong');
          this.input.blur();
        }
      },
    });
  }

  /** show shows what is set, unless a person is typing or has to mend what was typed. */
  show(): void {
    if (document.activeElement === this.input || this.input.classList.contains('wrong')) return;
    const text = this.now();
    if (this.input.value !== text) this.input.value = text;
  }

  private enter(): void {
    const text = this.input.value.trim();
    const problem = text === this.now() ? undefined : this.typed(text);
    if (problem) {
      this.input.classList.add('wrong');
      this.complain(problem);
    } else this.input.blur();
  }
}
