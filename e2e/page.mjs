// What a person does on the page, in Debian's Chromium. Arguments: the page's
// address, its token, and where to put the picture. Prints what it saw as JSON.
import { execFileSync } from 'node:child_process';
import { check, launch, watch } from './browser.mjs';

const [address, token, picture] = process.argv.slice(2);
const browser = await launch();
const seen = { errors: [] };
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  watch(page, token, seen.errors);
  await page.goto(`${address}#token=${token}`);
  // The overview opens first; Enter on the row opens its VM, at an address of its own.
  await page.locator('.row[data-key]').first().waitFor();
  await page.waitForTimeout(1500);
  await page.getByRole('button', { name: 'Got it' }).click(); // the hints of a first visit
  await check(page, 'one', picture, seen.errors);
  const table = page.locator('[role=treegrid]');
  await table.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('Enter');
  await page.waitForURL('**/#/vm/web');
  const line = page.locator('[role=slider]').first();
  await line.waitFor({ state: 'attached' }); // a line has no height
  const canvas = page.locator('#vm-view canvas').first();
  await page.waitForTimeout(2500);
  const before = await canvas.screenshot();
  await page.waitForTimeout(2500);
  seen.moves = !before.equals(await canvas.screenshot());

  // The journal knows before the page does; a person looks before the next change.
  const verified = async (n) => {
    await page.waitForFunction((n) => fetch('/v1/changes?limit=100').then((r) => r.json()).then((c) => c.length >= n && c[0].result === 'done'), n);
    await page.waitForTimeout(2500);
  };
  const box = await line.locator('.line-tab').boundingBox();
  const x = box.x + box.width / 2;
  const y = box.y + box.height / 2;
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x, y + 20, { steps: 5 });
  await page.mouse.move(x, y + 60, { steps: 10 });
  await page.mouse.up();
  await verified(3);
  seen.dragged = await line.getAttribute('aria-valuenow');

  await line.focus();
  await page.keyboard.press('PageDown');
  await page.keyboard.press('Enter');
  await verified(4);
  seen.keyed = await line.getAttribute('aria-valuenow');

  const field = page.locator('#vifs input[aria-label$="as a number"]').first();
  await field.fill('10mbps');
  await field.press('Enter');
  await page.getByText('ambiguous').first().waitFor();
  await field.fill('8mbit');
  await field.press('Enter');
  await verified(5);
  await page.locator('#vm-view').getByText('verified').first().waitFor();
  seen.typed = await line.getAttribute('aria-valuenow');
  await page.screenshot({ path: picture });
  await check(page, 'one-vm', picture, seen.errors);

  // What it is guaranteed (the browser notes the refusal, a 422, itself): more than there is is refused with what would do, which then does.
  const guarantee = page.getByRole('textbox', { name: 'web vif 0 tx guarantee' });
  await guarantee.fill('9mbit');
  await guarantee.press('Enter');
  const words = await page.locator('.problem .try').first().textContent();
  seen.most = words.match(/at most (\w+)/)?.[1];
  await guarantee.fill(seen.most);
  await guarantee.press('Enter');
  await verified(6);
  await page.getByRole('textbox', { name: 'web vif 0 tx weight' }).fill('300');
  await page.keyboard.press('Enter');
  await verified(7);
  await page.getByLabel('web vif 0 tx priority').focus();
  await page.keyboard.press('Space');
  await verified(8);
  seen.terms = [await guarantee.inputValue(), await page.getByRole('textbox', { name: 'web vif 0 tx weight' }).inputValue(), await page.getByLabel('web vif 0 tx priority').isChecked()].join(' ');

  await page.evaluate(() => (location.hash = '#/group/gold'));
  // A group's own: a guarantee above its limit is refused beside it, and one that fits is not.
  const group = page.locator('#groups li');
  const held = page.getByRole('textbox', { name: 'group gold tx guarantee' });
  await held.fill('31mbit');
  await held.press('Enter');
  await group.locator('.problem').waitFor();
  await held.fill('2mbit');
  await held.press('Enter');
  await verified(9);
  const most = page.getByRole('textbox', { name: 'group gold rx limit, as a number' });
  await most.fill('20mbit');
  await most.press('Enter');
  await verified(10);
  seen.group = [await held.inputValue(), await most.inputValue(), await group.locator('.problem').isVisible()].join(' ');

  await page.evaluate(() => (location.hash = '#/vm/web'));
  // Another program takes the place of the hooks: the card says so with its words, and the journal notes it, without a way back.
  const tc = (...args) => execFileSync('tc', args);
  execFileSync('tc', ['-batch', '-'], { input: 'qdisc del dev tap-web clsact\nqdisc add dev tap-web ingress\n' });
  await page.getByRole('button', { name: 'not enforced' }).waitFor();
  seen.notEnforced = await page.locator('.card .note').first().textContent();
  await page.locator('#journal-toggle').click();
  const newest = page.locator('#journal li').first();
  await newest.getByText('not enforced', { exact: true }).waitFor();
  await page.screenshot({ path: picture.replace('.png', '-not-enforced.png') });
  seen.noted = await newest.innerText();
  tc('qdisc', 'del', 'dev', 'tap-web', 'ingress');
  await newest.getByText('repaired', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'not enforced' }).waitFor({ state: 'detached' });
  seen.undoable = await newest.getByRole('button').count() > 0 || (await newest.innerText()).includes('→');
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
