// The page's way to change something: with the revision that the person saw, and with a token.

import { type API, Failure, type Lease, requestFor } from './api';
import { hasToken } from './token';
import type { Model, VIF } from './model';
import { type Change, type Direction, type Effect, type Group, nameOf, type Patch, type Problem } from './wire';
import { t } from './texts';
import { differences, formatMS } from './way';

/** Asker is where it is told why a request was not granted. */
export interface Asker {
  set problem(p: Problem | undefined);
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

  /** When the next change reverts by itself; empty is never. */
  lease: Lease = {};
  /** Changes that are collected by vif, to be applied as one; undefined while each is applied at once. */
  draft: Map<string, ReturnType<typeof requestFor>> | undefined;

  /** collect begins an empty draft, or has each change applied at once. */
  collect(on: boolean): void {
    this.draft = on ? new Map() : undefined;
    this.drafted();
    this.shown();
  }

  /** uncollect takes a vif's change out of the draft. */
  uncollect(key: string): void {
    this.draft?.delete(key);
    this.drafted();
    this.shown();
  }

  /** planned is what the draft has for one direction of a vif. */
  planned(v: VIF, d: Direction): Patch {
    const fields = Object.entries(this.draft?.get(v.key)?.[d] ?? {});
    return Object.fromEntries(fields.map(([field, n]) => [field, n === 'unlimited' ? Infinity : n]));
  }

  /** Is told when the draft changed. */
  drafted: () => void = () => {};
  /** Is told what a dry run foretells, of a direction; undefined: nothing is asked for any more. */
  foretold: (d: Direction, effects: Effect[] | undefined) => void = () => {};
  private rehearsal: { v: VIF; d: Direction; patch: Patch } | undefined; // the newest that is wanted
  private rehearsing = false;

  /** rehearse asks what a change would do, the newest question first and one at a time. */
  rehearse(v: VIF, d: Direction, patch: Patch | undefined): void {
    this.rehearsal = patch && { v, d, patch };
    if (!patch) this.foretold(d, undefined);
    else if (hasToken() && !this.rehearsing) void this.foretell();
  }

  /** again asks anew what is asked now: a new data set may change the answer. */
  again(): void {
    if (this.rehearsal && hasToken() && !this.rehearsing) void this.foretell();
  }

  private async foretell(): Promise<void> {
    this.rehearsing = true;
    for (let question: typeof this.rehearsal; this.rehearsal && this.rehearsal !== question; ) {
      question = this.rehearsal;
      const { v, d, patch } = question;
      try {
        const { revision: _, ...asked } = requestFor(v.status.vm, v.status.vif, d, patch, 0); // nothing is changed: any revision will do
        const c = await this.api.set({ ...asked, dry_run: true });
        if (this.rehearsal) this.foretold(d, c.effect ?? []);
      } catch {
        if (this.rehearsal) this.foretold(d, []); // the change itself will say what is wrong with it
      }
      await new Promise((done) => setTimeout(done, 120));
    }
    this.rehearsing = false;
  }

  /** applyDraft applies what was collected: all or none. */
  async applyDraft(at: Asker): Promise<void> {
    const all = [...(this.draft?.values() ?? [])];
    if (all.length === 0) return;
    try {
      const changes = await this.withToken(() => this.api.setAll(all));
      for (const c of changes) this.model.change(c, performance.now());
      at.problem = undefined;
      this.draft = new Map();
      this.say(t.applied(all.length));
    } catch (e) {
      const problem: Problem = e instanceof Failure ? e.problem : { code: 'internal', message: String(e) };
      at.problem = problem;
      this.say(inWords(problem), true);
    }
    this.drafted();
    this.shown();
  }

  /** forget drops what is kept for a vif that is not there; it says so, or why not. */
  async forget(v: { vm: string; vif: number }): Promise<void> {
    try {
      await this.withToken(() => this.api.forget(v.vm, v.vif));
      this.say(t.forgot(nameOf(v)));
    } catch (e) {
      this.say(e instanceof Failure ? inWords(e.problem) : String(e), true);
    }
  }

  /** confirm keeps a change that would revert. */
  async confirm(c: Change): Promise<void> {
    await this.attempt(this.model.vifs.get(c.key), async () => {
      const kept = await this.api.confirm(c.id);
      Object.assign(c, kept);
      return kept;
    });
  }

  /** set changes one direction; what became of it is then at the vif. */
  async set(v: VIF, d: Direction, patch: Patch, base: Base): Promise<void> {
    if (this.draft) {
      const key = v.key;
      const was = this.draft.get(key) ?? requestFor(v.status.vm, v.status.vif, d, {}, v.status.revision);
      const spelt = requestFor(v.status.vm, v.status.vif, d, patch, was.revision)[d];
      const { for_s: _, confirm_s: __, ...bare } = was;
      this.draft.set(key, { ...bare, [d]: { ...was[d], ...spelt }, ...this.lease });
      this.drafted();
      this.shown();
      return;
    }
    await this.attempt(v, async () => {
      const revision = base.revision ?? (await this.left(v, base));
      return this.api.set(requestFor(v.status.vm, v.status.vif, d, patch, revision, this.lease));
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
      message: t.somebodyElse(nameOf(v.status)),
      unchanged: t.theirs,
      try: t.lookAgain,
    });
  }

  private async attempt(at: Asker | undefined, send: () => Promise<Change>): Promise<void> {
    try {
      const c = await this.withToken(send);
      this.model.change(c, performance.now());
      if (c.result === 'done') this.say(t.said(nameOf(c), differences(c), c.verified, formatMS(c.took_ns / 1e6)));
      else if (at) at.problem = { code: 'not_applied', message: c.error ?? 'the change was undone' };
    } catch (e) {
      const problem: Problem = e instanceof Failure ? e.problem : { code: 'internal', message: String(e) };
      if (at) at.problem = problem;
      this.say(inWords(problem), true);
    }
    this.shown();
  }

  private async withToken<T>(send: () => Promise<T>): Promise<T> {
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
  const parts = [p.message, p.unchanged, p.try && t.tries + p.try].filter((s): s is string => !!s);
  return parts.map((s) => s[0]?.toUpperCase() + s.slice(1)).join('. ');
}
