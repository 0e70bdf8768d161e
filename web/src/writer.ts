// The page's way to change something: with the revision that the person saw, and with a token.

import { type API, Failure, requestFor } from './api';
import type { Model, VIF } from './model';
import { type Change, type Direction, type Group, nameOf, type Patch, type Problem } from './wire';
import { differences, formatMS } from './way';

/** Asker is where it is told why a request was not granted. */
export interface Asker {
  problem: Problem | undefined;
}

/** What a vif's settings were when a person began to change them. */
export interface Base {
  revision: number | undefined; // undefined: a change of a moment ago left it, and no data set has said it yet
  change: number | undefined; // that change
}

export const baseOf = (v: VIF): Base => ({ revision: v.unseen ? undefined : v.status.revision, change: v.change?.id });

export class Writer {
  constructor(
    private readonly api: API,
    private readonly model: Model,
    private readonly askToken: () => Promise<boolean>,
    private readonly say: (words: string, urgent?: boolean) => void,
    private readonly shown: () => void,
  ) {}

  /** set changes one direction; what became of it is then at the vif. */
  async set(v: VIF, d: Direction, patch: Patch, base: Base): Promise<void> {
    await this.attempt(v, async () => {
      const revision = base.revision ?? (await this.left(v, base));
      return this.api.set(requestFor(v.status.vm, v.status.vif, d, patch, revision));
    });
  }

  /** setGroup changes one direction of a group as it was seen; why not, if not, is then at who asked. */
  async setGroup(g: Group, d: Direction, patch: Patch, at: Asker): Promise<void> {
    await this.attempt(at, () => this.api.set(requestFor(`@${g.name}`, 0, d, patch, g.revision)));
  }

  /** undo takes a change back. */
  async undo(c: Change): Promise<void> {
    await this.attempt(this.model.vifs.get(c.key), () => this.api.undo(c.id));
  }

  /** left is the revision that the change in base left, unless somebody else came after it. */
  private async left(v: VIF, base: Base): Promise<number> {
    await this.model.seen(v);
    if (v.change?.id === base.change) return v.status.revision;
    throw new Failure({
      code: 'conflict',
      message: `somebody else changed ${v.status.vm} vif ${v.status.vif} meanwhile`,
      unchanged: 'it keeps what they set',
      try: 'look at what is set now, then again',
    });
  }

  private async attempt(at: Asker | undefined, send: () => Promise<Change>): Promise<void> {
    try {
      const c = await this.withToken(send);
      this.model.change(c, performance.now());
      if (c.result === 'done') this.say(`${nameOf(c)}: ${differences(c)}, ${c.verified ? 'verified ' : ''}after ${formatMS(c.took_ns / 1e6)}`);
      else if (at) at.problem = { code: 'not_applied', message: c.error ?? 'the change was undone' };
    } catch (e) {
      const problem: Problem = e instanceof Failure ? e.problem : { code: 'internal', message: String(e) };
      if (at) at.problem = problem;
      this.say(inWords(problem), true);
    }
    this.shown();
  }

  private async withToken(send: () => Promise<Change>): Promise<Change> {
    for (;;) {
      try {
        return await send();
      } catch (e) {
        if (!(e instanceof Failure && e.wantsToken)) throw e;
        if (!(await this.askToken())) throw e;
      }
    }
  }
}

/** inWords is a whole problem in one text. */
export function inWords(p: Problem): string {
  const parts = [p.message, p.unchanged, p.try && `Try: ${p.try}`].filter((s): s is string => !!s);
  return parts.map((s) => s[0]?.toUpperCase() + s.slice(1)).join('. ');
}
