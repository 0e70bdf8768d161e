// How well the page hears the daemon.

import { t } from './texts';

/** What is known of the connection; times in ms of the page's own clock. */
export interface Link {
  open: boolean; // a stream is established
  heard: number; // when the last data set came; -Infinity if none ever did
  lost: number; // when the stream ended, if it is not open
  retryAt: number; // when the next attempt is due
  interval: number; // between data sets, ms
  why: string; // the last failure in words
}

export type Phase = 'connecting' | 'live' | 'stale' | 'reconnecting';

export const newLink = (now: number): Link => ({ open: false, heard: -Infinity, lost: now, retryAt: now, interval: 1000, why: '' });

/** phase names the link's state. What is shown is to be trusted only while it is live. */
export function phase(l: Link, now: number): Phase {
  if (!l.open) return l.heard === -Infinity ? 'connecting' : 'reconnecting';
  return now - l.heard > Math.max(3 * l.interval, 2500) ? 'stale' : 'live';
}

/** words says the link's state to a person. */
export function words(l: Link, now: number): string {
  const silence = Math.max(0, Math.round((now - l.heard) / 1000));
  const wait = Math.ceil((l.retryAt - now) / 1000);
  switch (phase(l, now)) {
    case 'live':
      return t.live;
    case 'stale':
      return l.heard === -Infinity ? t.noData : t.staleFor(silence);
    case 'reconnecting':
      return t.staleSince(silence, wait);
    case 'connecting':
      return wait > 0 && l.why ? t.noAnswer(wait) : t.connecting;
  }
}

/** backoff is how long to wait before the nth attempt in a row, in ms; jitter is 0 to 1. */
export function backoff(n: number, jitter: number): number {
  return Math.min(5000, 400 * 2 ** Math.min(n, 8)) * (0.75 + 0.25 * jitter);
}
