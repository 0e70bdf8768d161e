// What a person does on a page of forty VMs, in Debian's Chromium. Arguments: the page's
// address, its token, and where to put the pictures. Prints what it saw as JSON.
import { execFileSync } from 'node:child_process';
import { check, launch, watch } from './browser.mjs';

const [address, token, picture] = process.argv.slice(2);
const browser = await launch();
const seen = { errors: [] };
const shot = (page, name) => page.screenshot({ path: picture.replace('.png', `-${name}.png`) });
try {
  const context = await browser.newContext({ viewport: { width: 1366, height: 768 } });
  const page = await context.newPage();
  watch(page, token, seen.errors);
  const get = (path) => page.evaluate((path) => fetch(path).then((r) => r.json()), path);
  const rows = () => page.$$eval('.row[data-key]:not([hidden]):not(.section)', (all) => all.map((e) => e.querySelector('.c-name').textContent));
  await page.goto(`${address}#token=${token}`);
  await page.locator('.row[data-key]').first().waitFor();
  await page.getByRole('button', { name: 'Got it' }).click();
  // What is kept for a VM that is gone is listed, and is dropped when a person says so.
  await page.getByRole('button', { name: 'Forget: gone vif 0' }).click();
  await page.getByText('what was kept for it is dropped').waitFor({ state: 'attached' });
  await page.getByRole('button', { name: 'Forget: gone vif 0' }).waitFor({ state: 'detached' });
  seen.absent = (await get('/v1/vifs?absent=1')).filter((v) => v.absent).length;

  // All at a glance, on a laptop.
  await page.waitForTimeout(process.env.PICTURES ? 115_000 : 12_000); // charts that are full are worth a picture
  seen.rows = (await rows()).length;
  seen.scrolls = await page.evaluate(() => document.documentElement.scrollHeight - innerHeight);
  await check(page, 'overview', picture, seen.errors);

  // Search, sort, fold.
  await page.keyboard.press('/');
  await page.keyboard.type('db-');
  await page.waitForTimeout(300);
  seen.found = (await rows()).sort().join(' ');
  await page.keyboard.press('Escape');
  await page.locator('[data-column=weight] button').click();
  await page.waitForTimeout(300);
  seen.heaviest = (await rows())[0];
  seen.sorted = await page.locator('[data-column=weight]').getAttribute('aria-sort');
  await page.locator('[data-column=name] button').click();
  await page.waitForTimeout(300);
  const before = (await rows()).length;
  await page.locator('.row.foldable', { hasText: 'group shop' }).first().click();
  await page.waitForTimeout(300);
  seen.folded = before - (await rows()).length;
  await page.locator('.row.foldable', { hasText: 'group shop' }).first().click();

  // What needs a look comes first and says why.
  execFileSync('tc', ['-batch', '-'], { input: 'qdisc del dev tap-print clsact\nqdisc add dev tap-print ingress\n' });
  await page.locator('.row[data-look]:not([data-look=""])', { hasText: 'print' }).waitFor();
  await page.waitForTimeout(4000);
  seen.first = await page.$$eval('.row:not([hidden])', (all) => all.filter((e) => e.getBoundingClientRect().height > 0).sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).slice(0, 2).map((e) => e.innerText.replace(/\s+/g, ' ')).join(' | '));
  execFileSync('tc', ['qdisc', 'del', 'dev', 'tap-print', 'ingress']);

  // While a line is moved the neighbours' shares are seen; let go by Escape it changes nothing.
  await page.evaluate(() => (location.hash = '#/vm/video-1'));
  const line = page.locator('[role=slider]').first();
  await line.waitFor({ state: 'attached' });
  await page.waitForTimeout(3000);
  await check(page, 'vm', picture, seen.errors);
  const changes = (await get('/v1/changes?limit=100')).length;
  await line.focus();
  await page.keyboard.press('PageDown');
  await page.locator('.neighbours li.moved').first().waitFor();
  seen.moved = await page.locator('.neighbours li.moved').count();
  await shot(page, 'vm-moved');
  await page.keyboard.press('Escape');
  seen.unmoved = (await get('/v1/changes?limit=100')).length - changes;

  // A draft of two VMs, one of them taken out and put in again, for ten minutes: applied as one.
  await page.getByRole('checkbox', { name: 'Draft' }).check();
  await page.getByLabel('for 10 minutes').check();
  const field = (name) => page.getByRole('textbox', { name: `${name} vif 0 tx limit, as a number` });
  const draft = async (name, rate) => {
    await page.evaluate((name) => (location.hash = `#/vm/${name}`), name);
    await field(name).fill(rate);
    await field(name).press('Enter');
    await page.locator('.drafted li', { hasText: name }).waitFor();
  };
  await draft('video-1', '7mbit');
  await draft('video-2', '6mbit');
  await page.getByRole('button', { name: 'Take video-2' }).click();
  await page.locator('.drafted li', { hasText: 'video-2' }).waitFor({ state: 'detached' });
  await draft('video-2', '5mbit');
  await page.locator('.ghost.planned:not([hidden])', { hasText: '5' }).waitFor({ state: 'attached' });
  await shot(page, 'draft');
  // One of them is less than is guaranteed: none is made.
  await page.getByRole('button', { name: 'Apply all' }).click();
  seen.refused = await page.locator('.change-bar .problem').textContent();
  seen.drafted = (await get('/v1/changes?limit=100')).length - changes;
  await draft('video-1', '12mbit');
  await page.getByRole('button', { name: 'Apply all' }).click();
  await page.locator('.drafted li').first().waitFor({ state: 'detached' });
  const applied = (await get('/v1/changes?limit=2')).sort((a, b) => a.to.tx.limit - b.to.tx.limit);
  seen.applied = applied.map((c) => `${c.vm} ${c.to.tx.limit / 1e6} ${c.verified} ${Math.round((Date.parse(c.until) - Date.parse(c.at)) / 1000)}`).join(', ');
  await page.getByRole('checkbox', { name: 'Draft' }).uncheck();

  // Until I confirm, and then I do.
  await page.evaluate(() => (location.hash = '#/vm/video-2'));
  await page.getByLabel('until I confirm').check();
  await field('video-2').fill('4mbit');
  await field('video-2').press('Enter');
  await page.getByRole('button', { name: 'Confirm' }).click();
  await page.getByRole('button', { name: 'Confirm' }).waitFor({ state: 'detached' });
  const [confirmed] = await get('/v1/changes?limit=1');
  seen.confirmed = `${confirmed.to.tx.limit} ${confirmed.confirmed_by}`;

  // A seventh tab works, and what is set in one is seen in all.
  const tabs = [];
  for (let i = 0; i < 6; i++) {
    const tab = await context.newPage();
    watch(tab, token, seen.errors);
    await tab.goto(`${address}#/vm/video-2`);
    tabs.push(tab);
  }
  for (const tab of tabs) await tab.locator('#vifs .limit input').first().waitFor({ timeout: 10_000 });
  await field('video-2').fill('3mbit');
  await field('video-2').press('Enter');
  await page.locator('.outcome .result.done').waitFor();
  for (const tab of tabs) await tab.waitForFunction(() => document.querySelector('#vifs .limit input')?.value === '3mbit', undefined, { timeout: 10_000 });
  seen.tabs = tabs.length + 1;
  const streams = () => Number(execFileSync('sh', ['-c', "ss -Htn state established '( sport = :8511 )' | wc -l"]).toString());
  seen.connections = streams();
  for (const tab of tabs) await tab.close();

  // While it is hidden there is no stream; when it is seen again there is.
  await page.waitForTimeout(1000);
  const held = streams();
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  await page.waitForTimeout(2000);
  seen.hidden = held - streams();
  await hide(false);
  await page.waitForFunction(() => document.body.dataset.phase === 'live');

  // In Chinese no English is left but names, units and terms.
  await page.evaluate(() => localStorage.setItem('sluice.language', 'zh'));
  for (const [name, hash] of [['overview', '#/'], ['vm', '#/vm/video-2']]) {
    await page.evaluate((hash) => (location.hash = hash), hash);
    await page.reload();
    await page.waitForTimeout(4000);
    await shot(page, `zh-${name}`);
    const words = await page.evaluate(() => {
      const all = [];
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      for (let n = walk.nextNode(); n; n = walk.nextNode()) {
        const e = n.parentElement;
        if (e && !['SCRIPT', 'STYLE'].includes(e.tagName) && e.getClientRects().length > 0) all.push(n.textContent);
      }
      for (const e of document.querySelectorAll('[title], [aria-label], [placeholder]')) all.push(e.title, e.getAttribute('aria-label') ?? '', e.getAttribute('placeholder') ?? '');
      return all.flatMap((text) => (text.match(/[A-Za-z]{3,}( [A-Za-z]{2,})+/g) ?? []).filter((words) => !words.endsWith(' vif')));
    });
    (seen.english ??= []).push(...new Set(words));
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
