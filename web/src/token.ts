// The token that writing needs: out of the address, else out of the person, for this tab only.
//
// Over https the certificate says who listens, and the token is sent. Over http whoever has the
// port gets what is sent, also while the daemon does not run: so the token is neither sent nor
// kept where a page of somebody else on this address could read it. Requests are signed with it.

import { Failure } from './api';
import { must, setText } from './dom';
import { keyOf, newNonce, sign } from './sign';

const kept = 'sluice.token';
const certified = location.protocol === 'https:';
let key: CryptoKey | undefined; // over http

/** know takes a token for as long as this tab is open; over http, until it is loaded anew. */
async function know(token: string): Promise<void> {
  if (certified) sessionStorage.setItem(kept, token);
  else if (crypto.subtle) key = await keyOf(token);
}

const known = (): boolean => (certified ? sessionStorage.getItem(kept) !== null : key !== undefined);

/** takeToken moves #token=... out of the address bar, where it would be seen, shared and kept. */
export async function takeToken(): Promise<void> {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!given) return;
  history.replaceState(null, '', location.pathname + location.search);
  await know(given);
}

/** authorization is what a request shows of the token; challenge asks the daemon for one. */
export async function authorization(method: string, path: string, body: string, challenge: () => Promise<string>): Promise<string> {
  if (certified) {
    const token = sessionStorage.getItem(kept);
    return token ? `Bearer ${token}` : '';
  }
  if (method === 'GET') return ''; // reading is free on this host
  if (!crypto.subtle) {
    throw new Failure({
      code: 'unsupported',
      message: 'this page came over plain http from another machine, where a browser can sign nothing',
      unchanged: 'nothing was changed',
      try: "the daemon's own https address, or a tunnel: ssh -L 8511:127.0.0.1:8511 HOST, then http://localhost:8511/",
    });
  }
  return key ? sign(key, method, path, await challenge(), newNonce(), body) : '';
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
  setText(must('#ask-token .rejected'), known() ? 'The token this tab had was not accepted.' : '');
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
        const used = dialog.returnValue === 'use' && given !== '';
        void (used ? know(given) : Promise.resolve()).then(() => answer(used));
      },
      { once: true },
    );
  });
}
