// The token that writing needs: out of the address, else out of the person, for this tab only.

import { must, setText } from './dom';

const key = 'sluice.token';

/** token is what this tab knows, or "". */
export const token = (): string => sessionStorage.getItem(key) ?? '';

/** takeToken moves #token=... out of the address bar, where it would be seen, shared and kept. */
export function takeToken(): void {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  sessionStorage.setItem(key, given);
  history.replaceState(null, '', location.pathname + location.search);
}

let asking: Promise<boolean> | undefined;

/** askToken asks the person, once at a time; false if they would rather not. */
export function askToken(): Promise<boolean> {
  asking ??= ask().finally(() => (asking = undefined));
  return asking;
}

function ask(): Promise<boolean> {
  const dialog = must<HTMLDialogElement>('#ask-token');
  const input = must<HTMLInputElement>('#token');
  setText(must('#ask-token .rejected'), token() ? 'The token this tab had was not accepted.' : '');
  input.value = '';
  dialog.returnValue = '';
  const form = must<HTMLFormElement>('#ask-token form');
  form.onsubmit = (e) => {
    e.preventDefault();
    dialog.close('use');
  };
  must('#ask-token .cancel').onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener(
      'close',
      () => {
        const given = input.value.trim();
        input.value = '';
        if (dialog.returnValue === 'use' && given) sessionStorage.setItem(key, given);
        answer(dialog.returnValue === 'use' && given !== '');
      },
      { once: true },
    );
  });
}
