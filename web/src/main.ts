// The page: what the daemon says, on the screen; what a person wants, to the daemon.

import './style.css';
import { showAbsent } from './absent';
import { API, type Failure } from './api';
import { h, must, setText } from './dom';
import { Groups } from './groups';
import { Journal } from './journal';
import { Looks } from './look';
import { newLink, phase, words } from './link';
import { Model } from './model';
import { readPalette, theme } from './palette';
import { readable } from './rate';
import { parse, type Route, spell } from './route';
import { Layers, Stack } from './stack';
import { follow } from './stream';
import { Table } from './table';
import { fill, otherLanguage, t } from './texts';
import { askToken, authorization, takeToken } from './token';
import { VMView } from './vmview';
import { type Change, type DataSet, directions } from './wire';
import { inWords, Writer } from './writer';

// A link with a token may be opened where the page already is.
window.addEventListener('hashchange', () => void takeToken());
const api = new API(authorization);
const model = new Model();
const link = newLink(performance.now());
const reduced = matchMedia('(prefers-reduced-motion: reduce)');

fill(document);
let palette = readPalette();
let route = parse(location.hash);
const writer = new Writer(api, model, askToken, say, show);
const layers = new Layers();
const looks = new Looks();
const go = (r: Partial<Route>) => (location.hash = spell({ ...route, ...r }));
const openVM = (vm: string) => go({ view: 'vm', name: vm });
const stacks = directions.map((d) => new Stack(d, model, layers, palette, openVM));
must('#links').append(...stacks.map((s) => s.element));
const journal = new Journal(model, writer);
const groups = new Groups(api, writer);
const vm = new VMView(model, writer, palette, askToken);
const filter = must<HTMLInputElement>('#filter');
const table = new Table(model, looks, palette, (v) => openVM(v.status.uuid || v.status.vm), (name) => go({ view: 'group', name }), (sort) => go({ sort }), (shown, all, vms) => {
  setText(must('#count'), shown === all ? t.count(all, vms) : t.countOf(shown, all));
  must('#none').hidden = shown > 0 || link.heard === -Infinity;
  setText(must('#none'), all === 0 ? t.empty : t.noMatch);
});
must('#overview').append(table.element);

theme(must('#theme'), () => {
  palette = readPalette();
  for (const s of stacks) s.recolour(palette);
  table.recolour(palette);
  vm.recolour(palette);
});
setText(must('#address'), location.host);
must('#language').addEventListener('click', otherLanguage);
must('.skip').addEventListener('click', () => table.element.focus());

filter.addEventListener('input', () => {
  route = { ...route, query: filter.value.trim() };
  history.replaceState(null, '', spell(route));
  steer();
});
filter.addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && filter.value) {
    filter.value = '';
    filter.dispatchEvent(new Event('input'));
  } else if (e.key === 'Escape' || e.key === 'ArrowDown' || e.key === 'Enter') table.element.focus();
});
document.addEventListener('keydown', (e) => {
  const typing = e.target instanceof HTMLInputElement || document.querySelector('dialog[open]');
  if (e.key === '/' && !typing && route.view === 'overview') {
    filter.focus();
    e.preventDefault();
  } else if (e.key === 'Escape' && !typing && !e.defaultPrevented && route.view !== 'overview' && must('#journal').hidden) go({ view: 'overview', name: '' });
});

/** steer shows the view that the address names. */
function steer(): void {
  const was = document.body.dataset['view'];
  document.body.dataset['view'] = route.view;
  must('#overview').hidden = route.view === 'vm';
  if (document.activeElement !== filter) filter.value = route.query;
  table.showing = { query: route.query, sort: route.sort, group: route.view === 'group' ? route.name : '' };
  groups.only = route.view === 'group' ? route.name : '';
  must('#groups').hidden = true;
  if (groups.only) void groups.follow(performance.now(), true);
  vm.show(route.view === 'vm' ? route.name : '');
  table.update(performance.now(), true);
  if (was !== route.view) window.scrollTo(0, 0);
  if (was && was !== 'overview' && route.view === 'overview') table.element.focus({ preventScroll: true });
}
window.addEventListener('hashchange', () => {
  route = parse(location.hash);
  steer();
});

/** say tells what became of a request to those who do not see it. */
function say(text: string, urgent = false): void {
  const region = must(urgent ? '#alert' : '#status');
  region.textContent = '';
  requestAnimationFrame(() => (region.textContent = text));
}

/** show brings everything on the screen in line with the model, after a change. */
function show(): void {
  vm.update();
  table.update(performance.now());
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
  layers.update(model, now);
  for (const v of model.present()) looks.take(v);
  if (now - linkAsked > 10_000) void askLink(now);
  absentMoved ||= model.moved;
  if (now - absentAsked > (absentMoved ? 2000 : 60_000)) void askAbsent(now);
  if (route.view !== 'vm') for (const s of stacks) s.update();
  if (route.view !== 'vm') table.update(now);
  else {
    vm.update();
    writer.again();
  }
  void groups.follow(now);
  entitle();
}

let linkAsked = -Infinity;

/** askLink asks what is guaranteed and reserved. */
async function askLink(now: number): Promise<void> {
  linkAsked = now;
  model.link = await api.link().catch(() => model.link);
  for (const s of stacks) s.draw();
}

let absentAsked = -Infinity;
let absentMoved = false; // since then a vif came or went

/** askAbsent asks what is kept of vifs that are not there. */
async function askAbsent(now: number): Promise<void> {
  absentAsked = now;
  absentMoved = false;
  try {
    model.absences(await api.vifs());
  } catch {
    absentAsked = now - 50_000; // what was known stands, until the question is put again
    return;
  }
  showAbsent(model.absent.values(), async (v) => {
    await writer.forget(v);
    await askAbsent(performance.now());
  });
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

void takeToken().then(() => follow(link, {
  opened: () => (waiting = []),
  event: (name, data) => {
    if (name === 'dataset') take(JSON.parse(data) as DataSet);
    else if (name === 'change') {
      const c = JSON.parse(data) as Change;
      if (model.change(c, performance.now())) show();
      if (c.result !== 'pending') linkAsked = -Infinity;
      if (c.vif < 0 || c.from.group !== c.to.group) void groups.follow(performance.now(), true);
    }
  },
  refused: (f: Failure) => {
    if (f.wantsToken) void askToken();
    else say(inWords(f.problem), true);
  },
}, () => authorization('GET', '/v1/events', '', () => Promise.resolve(''))));

/** entitle says in the browser's tab what all VMs send and receive. */
function entitle(): void {
  const p = phase(link, performance.now());
  const said = p === 'live' ? directions.map((d) => `${d} ${readable(model.sum[d]).join(' ')}`).join(', ') : p === 'connecting' ? '' : t.stale;
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
    if (p !== 'connecting') say(words(link, now));
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
    vm.frame(f);
  }
  requestAnimationFrame(frame);
}

const hinted = 'sluice.hinted';
if (!localStorage.getItem(hinted)) {
  must('#hints').hidden = false;
  must('#hints ol').append(...t.hints.map((text) => h('li', {}, text)));
  must('#hints button').addEventListener('click', () => {
    localStorage.setItem(hinted, 'yes');
    must('#hints').hidden = true;
    table.update(performance.now(), true);
  });
}

steer();
void document.fonts.ready.then(() => stacks.forEach((s) => s.recolour(palette)));
requestAnimationFrame(frame);
