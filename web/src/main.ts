// The page: what the daemon says, on the screen; what a person wants, to the daemon.

import './style.css';
import { API, type Failure } from './api';
import { must, setText } from './dom';
import { Grid, type Order } from './grid';
import { Groups } from './groups';
import { Host } from './host';
import { Journal } from './journal';
import { newLink, phase, words } from './link';
import { Model } from './model';
import { readPalette, theme } from './palette';
import { readable } from './rate';
import { follow } from './stream';
import { askToken, authorization, takeToken } from './token';
import { type Change, type DataSet, directions } from './wire';
import { inWords, Writer } from './writer';

void takeToken();
window.addEventListener('hashchange', () => void takeToken()); // a link with a token, opened where the page already is
const api = new API(authorization);
const model = new Model();
const link = newLink(performance.now());
const reduced = matchMedia('(prefers-reduced-motion: reduce)');

let palette = readPalette();
const writer = new Writer(api, model, askToken, say, show);
const host = new Host(model, palette);
const journal = new Journal(model, writer);
const groups = new Groups(api, writer);
const grid = new Grid(must('#vifs'), model, writer, palette, (shown, all, vms) => {
  setText(must('#count'), shown === all ? `${all} ${all === 1 ? 'interface' : 'interfaces'} of ${vms} ${vms === 1 ? 'VM' : 'VMs'}` : `${shown} of ${all} interfaces`);
  const none = all === 0 ? 'This host has no virtual interfaces now. They appear here when a VM starts.' : 'No interface matches the filter.';
  must('#none').hidden = shown > 0 || link.heard === -Infinity;
  setText(must('#none'), none);
});

theme(must('#theme'), () => {
  palette = readPalette();
  host.recolour(palette);
  grid.recolour(palette);
});
setText(must('#address'), location.host);

must<HTMLInputElement>('#filter').addEventListener('input', (e) => {
  grid.filter = (e.target as HTMLInputElement).value.trim();
  grid.arrange(performance.now());
});
must<HTMLSelectElement>('#order').addEventListener('change', (e) => {
  grid.order = (e.target as HTMLSelectElement).value as Order;
  grid.arrange(performance.now(), true);
});

/** say tells what became of a request to those who do not see it. */
function say(text: string, urgent = false): void {
  const region = must(urgent ? '#alert' : '#status');
  region.textContent = '';
  requestAnimationFrame(() => (region.textContent = text));
}

/** show brings everything on the screen in line with the model, after a change. */
function show(): void {
  grid.update();
  journal.update();
}

// Data sets wait while the recent past is fetched, so that time runs forward only.
let waiting: DataSet[] | undefined;

function take(data: DataSet): void {
  const now = performance.now();
  link.heard = now;
  link.interval = data.interval_ns / 1e6 || 1000;
  if (waiting) {
    waiting.push(data);
    if (waiting.length === 1) void catchUp(data);
    return;
  }
  model.dataset(data, now);
  host.update();
  grid.arrange(now);
  grid.update();
  void groups.follow(now);
  entitle();
}

async function catchUp(first: DataSet): Promise<void> {
  model.expect(link.interval);
  model.know(first);
  try {
    const [recent, changes] = await Promise.all([api.recent(120), api.changes(50)]);
    model.recent(recent);
    model.journal(changes, performance.now());
  } catch (e) {
    console.info('the recent past is not to be had:', e); // the charts fill by themselves
  }
  const sets = waiting ?? [];
  waiting = undefined;
  for (const data of sets) take(data);
  journal.update();
  void groups.follow(performance.now(), true);
}

void follow(api, link, {
  opened: () => (waiting = []),
  event: (e) => {
    if (e.name === 'dataset') take(JSON.parse(e.data) as DataSet);
    else if (e.name === 'change') {
      const c = JSON.parse(e.data) as Change;
      if (model.change(c, performance.now())) show();
      if (c.vif < 0 || c.from.group !== c.to.group) void groups.follow(performance.now(), true);
    }
  },
  refused: (f: Failure) => {
    if (f.wantsToken) void askToken();
    else say(inWords(f.problem), true);
  },
});

/** entitle says in the browser's tab what all VMs send and receive. */
function entitle(): void {
  const p = phase(link, performance.now());
  const said = p === 'live' ? directions.map((d) => `${d} ${readable(model.sum[d]).join(' ')}`).join(', ') : p === 'connecting' ? '' : 'Stale';
  document.title = said ? `${said} · Sluice` : 'Sluice';
}

/** showLink says how well the daemon is heard, and greys out what is not to be trusted. */
function showLink(now: number): void {
  const p = phase(link, now);
  const e = must('#link');
  if (e.dataset['phase'] !== p) {
    e.dataset['phase'] = p;
    document.body.dataset['phase'] = p;
    entitle();
    if (p !== 'connecting') say(p === 'live' ? 'Live' : words(link, now));
  }
  setText(must('#link .label'), words(link, now));
  e.title = p === 'live' ? '' : link.why;
}

let before = performance.now();
let edge = -Infinity;

function frame(now: number): void {
  const ms = Math.min(100, now - before);
  before = now;
  // The charts run a data set behind the daemon, so that the line's end is always there to draw.
  const last = model.timeline.last;
  const behind = now - model.clockOffset - model.interval * 1.15;
  const wanted = reduced.matches ? last : Math.min(last, behind);
  edge = wanted >= edge || edge - wanted > 5000 ? wanted : edge;
  showLink(now);
  if (edge > -Infinity && !document.hidden) {
    const f = { edge, ms, still: reduced.matches };
    host.frame(f);
    grid.frame(f);
  }
  requestAnimationFrame(frame);
}

void document.fonts.ready.then(() => host.recolour(palette));
requestAnimationFrame(frame);
