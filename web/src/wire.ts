// The words on the wire, as docs/architecture.md and the root package's JSON tags say them.
// Rates are bit/s; null is none.

export type Direction = 'tx' | 'rx';
export const directions: readonly Direction[] = ['tx', 'rx'];

export interface DirectionStatus {
  usage: number;
  demand: number;
  limit: number | null;
  guarantee: number;
  weight: number;
  priority?: number;
}

export interface VIFStatus {
  vm: string;
  uuid?: string;
  vif: number;
  mac?: string;
  device: string;
  source: 'guest' | 'host';
  state: string;
  revision: number;
  group?: string;
  tx: DirectionStatus;
  rx: DirectionStatus;
  guest?: { tx: number; rx: number; at: string; disagrees?: boolean };
  problem?: string;
  /** Why its frames do not obey what is set, in words. */
  not_enforced?: string;
}

export interface DataSet {
  at: string;
  interval_ns: number;
  capacity: Record<Direction, number | null>;
  vifs: VIFStatus[] | null;
}

export interface Allocation {
  guarantee: number;
  limit: number | null;
  weight: number;
  priority?: number;
}

/** Allocations are both directions' and the group's name: of a group itself the one that it is in. */
export interface Allocations extends Record<Direction, Allocation> {
  group?: string;
}

/** A group of vifs, and what they use together. */
export interface Group {
  name: string;
  parent: string;
  revision: number;
  tx: DirectionStatus;
  rx: DirectionStatus;
  members: string[];
}

/** A Patch is what is to change of one direction. */
export type Patch = Partial<Record<'limit' | 'guarantee' | 'weight' | 'priority', number>>;

export interface Change {
  id: number;
  vm: string;
  vif: number;
  key: string;
  device: string;
  by: string;
  at: string;
  from: Allocations;
  to: Allocations;
  result: 'pending' | 'done' | 'undone';
  verified: boolean;
  states: { state: string; at: string }[] | null;
  took_ns: number;
  error?: string;
  undoes?: number;
  /** What was found in the kernel and done about it, of a record that changed no setting. */
  note?: string;
}

export interface Recent {
  at: number[] | null; // ms
  vifs: { key: string; vm: string; vif: number; tx: (number | null)[]; rx: (number | null)[] }[] | null;
}

/** A failure told to a person. */
export interface Problem {
  code: string;
  message: string;
  unchanged?: string;
  try?: string;
}

/** keyOf is a vif's identity, as sluice.VIF.Key makes it. */
export function keyOf(v: Pick<VIFStatus, 'vm' | 'uuid' | 'vif' | 'mac'>): string {
  return `${v.uuid || v.vm}/${v.mac || v.vif}`;
}

/** nameOf is what people call whose settings a change set. */
export function nameOf(c: Pick<Change, 'vm' | 'vif'>): string {
  return c.vif < 0 ? `group ${c.vm.slice(1)}` : `${c.vm} vif ${c.vif}`;
}

/** limitOf reads a limit of the wire: none is Infinity from here on. */
export function limitOf(limit: number | null): number {
  return limit ?? Infinity;
}
