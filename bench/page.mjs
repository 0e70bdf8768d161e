// What a page of many vifs costs a browser: Debian's Chromium, without a graphics card. Arguments: the page's
// address, and for how many seconds at rest, and for how many data sets of a tenth of a second, it is looked at.
// Prints JSON; each round has an empty page as high beside it.
import { createRequire } from 'node:module';

const { chromium } = createRequire(new URL('../web/package.json', import.meta.url))('playwright-core');
const [address, rest, sets] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--enable-precise-memory-info'] });
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const viewport = { width: 1366, height: 768 };
const seen = { paint: [], emptyPaint: [] };

/** open opens a page in a browser without a past, and returns when it first painted something, ms. */
async function open(url) {
  const context = await browser.newContext({ viewport });
  await context.addInitScript(() => localStorage.setItem('sluice.hinted', 'yes'));
  const page = await context.newPage();
  await page.goto(url);
  const paint = await page.evaluate(() => new Promise((done) => new PerformanceObserver((l) => done(l.getEntries().at(-1).startTime)).observe({ type: 'paint', buffered: true })));
  return { context, page, paint };
}

/** scroll counts the frames of five seconds in which the page is scrolled through, to and fro. */
const scroll = (page) => page.evaluate(() => new Promise((done) => {
  const begin = performance.now();
  let frames = 0, step = 40;
  const next = (now) => {
    frames++;
    const before = scrollY;
    scrollBy(0, step);
    if (scrollY === before) step = -step;
    if (now - begin < 5000) requestAnimationFrame(next);
    else done((frames * 1000) / (now - begin));
  };
  requestAnimationFrame(next);
}));

/** busy is the part of a processor that the page's main thread takes while nobody touches it, %. */
async function busy(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable');
  const task = async () => (await cdp.send('Performance.getMetrics')).metrics.find((m) => m.name === 'TaskDuration').value;
  const before = await task();
  await wait(rest * 1000);
  return ((await task()) - before) / rest * 100;
}

/** heap is what is in use after a collection, MB. */
async function heap(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('HeapProfiler.collectGarbage');
  return (await cdp.send('Runtime.getHeapUsage')).usedSize / 1e6;
}

try {
  for (let i = 0; i < 5; i++) {
    const empty = await open('data:text/html,<title>empty</title><p>empty');
    seen.emptyPaint.push(empty.paint);
    await empty.context.close();
    const ours = await open(address);
    seen.paint.push(ours.paint);
    await ours.context.close();
  }
  const { page } = await open(address);
  await page.locator('.row[data-key]').first().waitFor();
  await wait(5000);
  seen.rows = Number((await page.locator('#count').textContent()).match(/\d+/)[0]);
  seen.high = await page.evaluate(() => document.documentElement.scrollHeight);
  seen.busy = await busy(page);
  seen.frames = await scroll(page);
  const empty = (await open(`data:text/html,<title>empty</title><body style="height:${seen.high}px">empty`)).page;
  seen.emptyFrames = await scroll(empty);
  seen.emptyBusy = await busy(empty);
  if (sets > 0) {
    await empty.close();
    await page.evaluate(() => scrollTo(0, 0));
    await wait(130_000); // the charts' two minutes are full
    seen.heap = [await heap(page)];
    for (let i = 0; i < 4; i++) {
      await wait((sets * 100) / 4);
      seen.heap.push(await heap(page));
    }
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
