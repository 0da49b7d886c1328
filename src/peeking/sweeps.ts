import { isPreview } from '../device-peeks/preview-devices.ts';
import type { InboundPeeks } from '../inbound-peeks/inbound-peeks.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Store } from '../store/store.ts';
import type { BecomingResident } from './becoming-resident.ts';
import type { Dormancy } from './dormancy.ts';
import { LogSizes } from './log-sizes.ts';
import type { Peeking } from './peeking.ts';
import type { Previewing } from './previewing.ts';
import type { RoomReaders } from './room-readers.ts';
import type { Waking } from './waking.ts';

/** A log keeps what is younger than this … */
const KEEP_MS = 36 * 3_600_000;
/** … and not more events than this: more than a day of a busy room. */
const KEEP_EVENTS = 50_000;
/** … and of these, if they are large, about so many bytes: more than 50 000 ordinary events have. */
const KEEP_BYTES = 256 * 1024 * 1024;
/** What a first section shows, and some to spare. */
const NEWEST_KEPT = 50;
const PRUNED_AT_ONCE = 500;
const LEASE_MS = 55_000;

export interface SweepsDeps {
  readonly store: Store;
  readonly peeking: Peeking;
  readonly previewing: Previewing;
  readonly readers: RoomReaders;
  readonly becomingResident: BecomingResident;
  readonly dormancy: Dormancy;
  readonly waking: Waking;
  readonly inbound: InboundPeeks;
  readonly outbound: OutboundPeeks;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly owner: string;
  readonly expireAfterMs: number;
}

/** What is due from time to time. Under a lease, so that one process of several does it. */
export class Sweeps {
  readonly #deps: SweepsDeps;
  readonly #sizes: LogSizes;

  constructor(deps: SweepsDeps) {
    this.#deps = deps;
    this.#sizes = new LogSizes(deps.store.logs, KEEP_BYTES);
  }

  async run(): Promise<void> {
    const { store, clock, owner, outbound, inbound, readers, becomingResident, dormancy, waking, logger } =
      this.#deps;
    if (!(await store.leases.acquire('sweep', owner, LEASE_MS))) return;
    const now = clock.now();
    for (const [name, task] of [
      ['device peeks', () => this.#devicePeeks(now)],
      ['sleeping devices', () => dormancy.sweep(now)],
      ['inbound peeks', () => inbound.evict(now)],
      ['outbound peeks', () => outbound.sweep(now)],
      ['room logs', () => this.#prune(now)],
      ['readers', () => readers.sweep()],
      ['sleeping rooms', () => waking.sweep()],
      ['joined rooms', () => becomingResident.sweep(now)],
    ] as const) {
      try {
        await task();
      } catch (error) {
        logger.warn(
          { sweep: name, reason: String(error) },
          'a sweep did not finish; the next one tries again',
        );
      }
    }
    await store.leases.release('sweep', owner);
  }

  /** Peeks of devices that have not synced for long end; tombstones that nobody fetched go. */
  async #devicePeeks(now: number): Promise<void> {
    const { store, peeking, expireAfterMs } = this.#deps;
    for (const peek of await store.devicePeeks.all()) {
      if (isPreview(peek)) await this.#deps.previewing.sweep(peek, now);
      else if (peek.ended === null) {
        if (peek.seenAt + expireAfterMs <= now) await peeking.end(peek, 'expired');
      } else if (peek.ended.at + expireAfterMs <= now) {
        await store.devicePeeks.remove(peek);
      }
    }
  }

  async #prune(now: number): Promise<void> {
    const { store } = this.#deps;
    const logs = await store.logs.all();
    this.#sizes.retain(new Set(logs.map(({ roomId }) => roomId)));
    for (const log of logs) {
      const byCount = log.head - KEEP_EVENTS + 1;
      if (byCount > log.tail) await store.logs.prune(log.roomId, byCount);
      // The newest events stay however old they are: a first section shows them.
      const newestKept = log.head - NEWEST_KEPT;
      const bySize = await this.#sizes.surplusBefore({ ...log, tail: Math.max(log.tail, byCount) });
      if (bySize !== null) await store.logs.prune(log.roomId, Math.min(bySize, newestKept + 1));
      const oldest = await store.logs.read(log.roomId, log.tail - 1, PRUNED_AT_ONCE);
      const kept = oldest.findIndex(
        (entry) => entry.receivedAt > now - KEEP_MS || entry.position > newestKept,
      );
      const lastPruned = oldest.at(kept === -1 ? -1 : kept - 1);
      if (kept !== 0 && lastPruned !== undefined) await store.logs.prune(log.roomId, lastPruned.position + 1);
    }
  }
}
