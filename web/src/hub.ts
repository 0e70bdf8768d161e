// One event stream for all tabs of a browser, and none while all are hidden. It runs in a shared
// worker; where a browser has none, each tab has a hub of its own.

import { API, Failure } from './api';
import { backoff } from './link';
import { EventReader } from './sse';
import type { Problem } from './wire';

/** What a tab tells the hub, again every [beat] while it is visible. */
export interface FromTab {
  visible: boolean;
  base: string; // the daemon's address
  authorization: string; // what reading needs, "" over plain http
}

/** What the hub tells a visible tab. */
export type ToTab =
  | { kind: 'opened' } // a stream is there, before its first event
  | { kind: 'event'; name: string; data: string }
  | { kind: 'ended'; why: string; wait: number } // ms until the next attempt
  | { kind: 'refused'; problem: Problem };

export const beat = 5000; // ms
const gone = 3 * beat; // a tab that closed without a word
/** Longer than the daemon's heartbeat of 15 s: after such a silence the line is dead. */
const silence = 20_000;

export class Hub {
  private readonly tabs = new Map<MessagePort, number>(); // visible ones, and when each was heard last
  private from: FromTab = { visible: false, base: '', authorization: '' };
  private reader = new EventReader();
  private stream: AbortController | undefined; // there while somebody looks
  private open = false;
  private newest = ''; // data set
  private wake: (() => void) | undefined;

  constructor() {
    setInterval(() => {
      for (const [tab, heard] of this.tabs) if (Date.now() - heard > gone) this.leave(tab);
    }, beat);
  }

  /** connect takes a tab in. */
  connect(tab: MessagePort): void {
    tab.onmessage = (e: MessageEvent<FromTab>) => {
      if (!e.data.visible) return this.leave(tab);
      this.from = e.data;
      const known = this.tabs.has(tab);
      this.tabs.set(tab, Date.now());
      this.wake?.();
      if (!this.stream) void this.follow();
      else if (!known && this.open) {
        tab.postMessage({ kind: 'opened' } satisfies ToTab);
        if (this.newest) tab.postMessage({ kind: 'event', name: 'dataset', data: this.newest } satisfies ToTab);
      }
    };
    tab.start?.();
  }

  private leave(tab: MessagePort): void {
    this.tabs.delete(tab);
    if (this.tabs.size > 0) return;
    this.stream?.abort();
    this.stream = undefined;
    this.wake?.();
  }

  private tell(m: ToTab): void {
    for (const tab of this.tabs.keys()) tab.postMessage(m);
  }

  /** follow keeps a stream until nobody looks any more. */
  private async follow(): Promise<void> {
    const stream = (this.stream = new AbortController());
    this.reader = new EventReader(); // whoever comes back asks for the recent past and the journal
    this.newest = '';
    for (let attempt = 0; this.stream === stream; attempt++) {
      let why = 'the daemon ended the stream';
      try {
        await this.once(stream.signal, () => (attempt = 0));
      } catch (e) {
        why = e instanceof Error ? e.message : String(e);
        if (e instanceof Failure && e.problem.code !== 'unavailable') this.tell({ kind: 'refused', problem: e.problem });
      }
      if (this.stream !== stream) return;
      this.open = false;
      const wait = backoff(attempt, Math.random());
      this.tell({ kind: 'ended', why, wait });
      await new Promise<void>((done) => {
        this.wake = done;
        setTimeout(done, wait);
      });
      this.wake = undefined;
    }
  }

  private async once(stop: AbortSignal, heard: () => void): Promise<void> {
    const ended = new AbortController();
    const end = () => ended.abort();
    stop.addEventListener('abort', end);
    let watchdog = setTimeout(end, silence);
    const api = new API(() => Promise.resolve(this.from.authorization), this.from.base);
    try {
      const body = (await api.events(this.reader.lastID, ended.signal)).getReader();
      const text = new TextDecoder();
      this.reader.reset();
      this.open = true;
      this.tell({ kind: 'opened' });
      for (;;) {
        const { done, value } = await body.read();
        if (done) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(end, silence);
        for (const e of this.reader.push(text.decode(value, { stream: true }))) {
          heard();
          if (e.name === 'dataset') this.newest = e.data;
          this.tell({ kind: 'event', name: e.name, data: e.data });
        }
      }
    } finally {
      clearTimeout(watchdog);
      stop.removeEventListener('abort', end);
      ended.abort();
    }
  }
}
