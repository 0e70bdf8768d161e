import { expect, test } from 'vitest';
import { keyOf, newNonce, sign } from './sign';

test('a request is signed as the daemon checks it', async () => {
  const key = await keyOf('LET-ME-IN');
  // The same values are in http/sign_test.go.
  expect(await sign(key, 'POST', '/v1/changes', 'c', 'n', '{"vm":"web"}')).toBe(
    'Sluice c.n.14c30d284094748bfe7820b4c6404b073768b20f4b9f7bd60072a293e5310352',
  );
});

test('the key cannot be read back', async () => {
  await expect(crypto.subtle.exportKey('raw', await keyOf('LET-ME-IN'))).rejects.toThrow();
});

test('no nonce comes twice', () => {
  expect(newNonce()).toMatch(/^[0-9a-f]{32}$/);
  expect(newNonce()).not.toBe(newNonce());
});
