// The words on the wire: types that openapi.ts has of docs/openapi.json, under the names that the page uses.
// Rates are bit/s; null is none.

import type * as api from './openapi';
import { t } from './texts';

export type Direction = 'tx' | 'rx';
export const directions: readonly Direction[] = ['tx', 'rx'];

/** Go's Rate may be "no limit", so the document lets every rate be null; these never are. */
type Sure<T, K extends keyof T> = Omit<T, K> & { [P in K]: NonNullable<T[P]> };
export type DirectionStatus = Sure<api.DirectionStatus, 'usage' | 'demand' | 'guarantee'>;
export type Allocation = Sure<api.Allocation, 'guarantee'>;
export type Allocations = Omit<api.Allocations, Direction> & Record<Direction, Allocation>;
export type Change = Omit<api.Change, 'from' | 'to' | 'back'> & { from: Allocations; to: Allocations; back?: Allocations };
export type Group = Omit<api.GroupStatus, Direction> & Record<Direction, DirectionStatus>;
export type { Effect, EffectDirection, Link, Recent } from './openapi';
export type Problem = Omit<api.Error, 'code'> & { code: string };

/** A vif's line. key is its identity where the daemon says it; absent: what is kept of one that is not there. */
export type VIFStatus = Omit<api.VifStatus, Direction | 'guest'> &
  Record<Direction, DirectionStatus> & { guest?: Sure<NonNullable<api.VifStatus['guest']>, Direction>; key?: string; absent?: boolean };

/** The events' document is no part of OpenAPI: architecture.md says what a data set is. */
export interface DataSet {
  at: string;
  interval_ns: number;
  capacity: Record<Direction, number | null>;
  vifs: VIFStatus[] | null;
}

/** A Patch is what is to change of one direction. */
export type Patch = Partial<Record<'limit' | 'guarantee' | 'weight' | 'priority', number>>;

/** keyOf is a vif's identity: what the daemon says, else as sluice.VIF.Key makes it. */
export function keyOf(v: Pick<VIFStatus, 'vm' | 'uuid' | 'vif' | 'mac' | 'key'>): string {
  return v.key || `${v.uuid || v.vm}/${v.mac || v.vif}`;
}

/** nameOf is what people call whose settings a change set. */
export function nameOf(c: { vm: string; vif: number }): string {
  return c.vif < 0 ? t.groupLabel(c.vm.slice(1)) : t.vif(c.vm, c.vif);
}

/** limitOf reads a limit of the wire: none is Infinity from here on. */
export function limitOf(limit: number | null): number {
  return limit ?? Infinity;
}
