// The daemon's HTTP API, as this page uses it.

import { t } from './texts';
import type { Change, Direction, Group, Link, Patch, Problem, Recent, VIFStatus } from './wire';

/** Every failed request throws a Failure: what was wrong, what stayed, what to try. */
export class Failure extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }

  /** Whether a token would help. */
  get wantsToken(): boolean {
    return this.problem.code === 'unknown';
  }
}

type Spelt = Record<string, number | 'unlimited'>;

export interface ChangeRequest {
  vm: string;
  vif: number;
  tx?: Spelt;
  rx?: Spelt;
  revision?: number;
  dry_run?: boolean;
  for_s?: number;
  confirm_s?: number;
}

/** Lease says when a change reverts by itself: empty is never. */
export type Lease = Pick<ChangeRequest, 'for_s' | 'confirm_s'>;

/** requestFor asks for something else in one direction. */
export function requestFor(vm: string, vif: number, d: Direction, patch: Patch, revision: number, lease: Lease = {}): ChangeRequest & { revision: number } {
  const spelt = Object.entries(patch).map(([field, n]) => [field, n === Infinity ? 'unlimited' : n]);
  return { vm, vif, [d]: Object.fromEntries(spelt), revision, ...lease };
}

const answerTime = 30_000; // ms; a change has its own, shorter limit in the daemon

/** Authorization is what a request shows of the token, "" for nothing. */
export type Authorization = (method: string, path: string, body: string, challenge: () => Promise<string>) => Promise<string>;

export class API {
  constructor(
    private readonly authorization: Authorization,
    private readonly base = '',
  ) {}

  recent(seconds: number): Promise<Recent> {
    return this.json('GET', `v1/recent?seconds=${seconds}`);
  }

  changes(limit: number): Promise<Change[]> {
    return this.json('GET', `v1/changes?limit=${limit}`);
  }

  groups(): Promise<Group[]> {
    return this.json('GET', 'v1/groups');
  }

  set(request: ChangeRequest): Promise<Change> {
    return this.json('POST', 'v1/changes', request);
  }

  /** setAll makes many changes as one: all or none. */
  setAll(requests: ChangeRequest[]): Promise<Change[]> {
    return this.json('POST', 'v1/batch', requests);
  }

  link(): Promise<Link> {
    return this.json('GET', 'v1/capacity');
  }

  /** vifs are all that the daemon lists, those that are absent among them where it keeps such. */
  vifs(): Promise<VIFStatus[]> {
    return this.json('GET', 'v1/vifs?absent=1');
  }

  confirm(id: number): Promise<Change> {
    return this.json('POST', `v1/changes/${id}/confirm`);
  }

  /** forget drops what is kept for a vif that is not there. */
  forget(vm: string, vif: number): Promise<unknown> {
    return this.json('POST', 'v1/forget', { vm, vif });
  }

  undo(id: number): Promise<Change> {
    return this.json('POST', `v1/changes/${id}/undo`);
  }

  /** events opens the stream of server-sent events. */
  async events(lastID: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (lastID) headers['Last-Event-ID'] = lastID;
    const answer = await this.send('GET', 'v1/events', { headers, signal });
    if (!answer.body) throw new Failure({ code: 'internal', message: 'the daemon sent an empty stream' });
    return answer.body;
  }

  private async challenge(): Promise<string> {
    return (await this.json<{ challenge: string }>('GET', 'v1/challenge')).challenge;
  }

  private async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const init: RequestInit = { signal: AbortSignal.timeout(answerTime) };
    if (body !== undefined) {
      init.headers = { 'Content-Type': 'application/json' };
      init.body = JSON.stringify(body);
    }
    const answer = await this.send(method, path, init);
    return (await answer.json()) as T;
  }

  private async send(method: string, path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    const body = typeof init.body === 'string' ? init.body : '';
    const shown = await this.authorization(method, `/${path}`, body, () => this.challenge());
    if (shown) headers.set('Authorization', shown);
    let answer: Response;
    try {
      answer = await fetch(this.base + path, { ...init, method, headers, cache: 'no-store' });
    } catch (e) {
      if (init.signal?.aborted && method === 'GET') throw e;
      const sent = method === 'GET' ? {} : { unchanged: t.unsure };
      throw new Failure({ code: 'unavailable', message: t.noDaemon, ...sent, try: t.noDaemonTry });
    }
    if (!answer.ok) throw new Failure(await problemOf(answer));
    return answer;
  }
}

async function problemOf(answer: Response): Promise<Problem> {
  try {
    const p = (await answer.json()) as Partial<Problem>;
    if (typeof p.message === 'string' && typeof p.code === 'string') return p as Problem;
  } catch {
    // not ours: something between this page and the daemon answered
  }
  return { code: 'internal', message: `${answer.url} answered ${answer.status} ${answer.statusText}`.trim(), try: "see the daemon's log" };
}
