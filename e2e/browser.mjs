// What the tests of the page have in common: Debian's Chromium, and how a view is looked at.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import { readFileSync } from 'node:fs';

const { chromium } = createRequire(pathToFileURL(resolve('../web/package.json')))('playwright-core');
const axe = readFileSync('../web/node_modules/axe-core/axe.min.js', 'utf8');

export const launch = () => chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'], timeout: 90_000 });

/** watch notes in errors what the page's console says, and a token that leaves it in any header, body or address: who has the port might not be the daemon. */
export function watch(page, token, errors) {
  page.on('request', (r) => {
    if (`${Object.values(r.headers())} ${r.postData() ?? ''} ${r.url()}`.includes(token)) errors.push(`the token went out to ${r.url()}`);
  });
  page.on('response', async (r) => {
    if (r.status() >= 400 && r.status() !== 422) errors.push(`${r.status()} to ${r.request().method()} ${r.url()} ${r.request().postData() ?? ''}: ${await r.text().catch(String)}`);
  });
  page.on('pageerror', (e) => errors.push(e.stack ?? e.message));
  page.on('console', (m) => m.type() === 'error' && !m.text().includes('422') && errors.push(m.text()));
}

/** check has axe-core look at a view at three sizes, takes its picture at each, and sees that nothing is wider than the screen. */
export async function check(page, name, picture, errors) {
  for (const [width, height] of [[360, 740], [1366, 768], [3840, 2160]]) {
    await page.setViewportSize({ width, height });
    await page.waitForTimeout(700);
    await page.screenshot({ path: picture.replace('.png', `-${name}-${width}.png`) });
    await page.evaluate(axe);
    const found = await page.evaluate(() => globalThis.axe.run().then((r) => r.violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 160)}`)));
    for (const f of found) errors.push(`${name} at ${width} px: ${f}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) errors.push(`${name} at ${width} px is ${wide} px wide`);
  }
  await page.setViewportSize({ width: 1366, height: 768 });
  await page.waitForTimeout(300);
}
