// The live stream, which comes back by itself.

import { type API, Failure } from './api';
import { backoff, type Link } from './link';
import { EventReader, type ServerEvent } from './sse';

/** Longer than the daemon's heartbeat of 15 s: after such a silence the line is dead. */
const silence = 20_000;

export interface Listener {
  opened(): void; // a stream was established, before its first event
  event(e: ServerEvent): void;
  refused(f: Failure): void; // the daemon answered, but with an error
}

/** follow keeps link and listener up to date for as long as the page lives. */
export async function follow(api: API, link: Link, listener: Listener): Promise<never> {
  const reader = new EventReader();
  for (let attempt = 0; ; attempt++) {
    try {
      await once(api, reader, link, listener, () => (attempt = 0));
      link.why = 'the daemon ended the stream';
    } catch (e) {
      link.why = e instanceof Error ? e.message : String(e);
      if (e instanceof Failure && e.problem.code !== 'unavailable') listener.refused(e);
    }
    if (link.open) link.lost = performance.now();
    link.open = false;
    const wait = backoff(attempt, Math.random());
    link.retryAt = performance.now() + wait;
    await sleep(wait);
  }
}

async function once(api: API, events: EventReader, link: Link, listener: Listener, heard: () => void): Promise<void> {
  const ended = new AbortController();
  let watchdog = setTimeout(() => ended.abort(), silence);
  try {
    const body = (await api.events(events.lastID, ended.signal)).getReader();
    const text = new TextDecoder();
    events.reset();
    link.open = true;
    listener.opened();
    for (;;) {
      const { done, value } = await body.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => ended.abort(), silence);
      for (const e of events.push(text.decode(value, { stream: true }))) {
        heard();
        listener.event(e);
      }
    }
  } finally {
    clearTimeout(watchdog);
    ended.abort();
  }
}

/** sleep ends early when there is a reason to think that the daemon can be reached again. */
function sleep(ms: number): Promise<void> {
  return new Promise((wake) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener('online', done);
      document.removeEventListener('visibilitychange', done);
      wake();
    };
    const timer = setTimeout(done, ms);
    window.addEventListener('online', done);
    document.addEventListener('visibilitychange', done);
  });
}
