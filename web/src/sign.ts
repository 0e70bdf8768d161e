// Requests signed with the token, which so never leaves the page: see http/sign.go.

/** keyOf is a token as a key that signs and that no script can read back. */
export const keyOf = (token: string): Promise<CryptoKey> =>
  crypto.subtle.importKey('raw', bytes(token), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);

/** sign is the Authorization of one request, good once and for the daemon that made the challenge. */
export async function sign(key: CryptoKey, method: string, path: string, challenge: string, nonce: string, body: string): Promise<string> {
  const sum = hex(await crypto.subtle.digest('SHA-256', bytes(body)));
  const mac = await crypto.subtle.sign('HMAC', key, bytes([method, path, challenge, nonce, sum].join('\n')));
  return `Sluice ${challenge}.${nonce}.${hex(mac)}`;
}

/** newNonce is a text that no other request has. */
export const newNonce = (): string => hex(crypto.getRandomValues(new Uint8Array(16)).buffer);

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

const hex = (b: ArrayBuffer): string => Array.from(new Uint8Array(b), (n) => n.toString(16).padStart(2, '0')).join('');
