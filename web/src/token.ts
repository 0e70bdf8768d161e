// The token that writing needs: out of the address, else out of the person, for this tab only.
//
// Over https the certificate says who listens, and the token is sent. Over http whoever has the
// port gets what is sent, also while the daemon does not run: so the token is neither sent nor
// kept where a page of somebody else on this address could read it. Requests are signed with it.

import { Failure } from './api';
import { must, setText } from './dom';
import { t } from './texts';
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
  history.replaceState(null, '', `${location.pathname}${location.search}#/`);
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
      message: t.plainHTTP,
      unchanged: t.nothingChanged,
      try: t.plainHTTPTry,
    });
  }
  return key ? sign(key, method, path, await recently(challenge), newNonce(), body) : '';
}

/** Whether this tab has a token, so that what needs one can be asked without asking the person. */
export const hasToken = (): boolean => known();

// A challenge is good for a minute; what is signed with it differs by the nonce.
let challenged: { at: number; text: string } | undefined;

async function recently(challenge: () => Promise<string>): Promise<string> {
  if (!challenged || performance.now() - challenged.at > 20_000) challenged = { at: performance.now(), text: await challenge() };
  return challenged.text;
}

/** anew forgets the challenge: the daemon that made it may have been started again. True if there was one. */
export function anew(): boolean {
  const had = challenged !== undefined && challenged.at < performance.now() - 50;
  challenged = undefined;
  return had;
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
  setText(must('#ask-token .rejected'), known() ? t.rejected : '');
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
