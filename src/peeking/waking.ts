import type { Homeserver } from '../homeserver/homeserver.ts';
import { NobodyLetsUs } from '../outbound-peeks/candidates.ts';
import { Patience } from '../outbound-peeks/patience.ts';
import type { Clock } from '../platform/clock.ts';
import { Gate } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import type { Metrics } from '../platform/metrics.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { readableHead } from '../rooms/timeline.ts';
import { type RoomLog, type Store, StoreDownError } from '../store/store.ts';
import type { RoomOpening } from './room-opening.ts';
import type { RoomReaders } from './room-readers.ts';

/** Rooms woken at once: a device may have fifty of them. */
const WOKEN_AT_ONCE = 8;

export interface WakingDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly readers: RoomReaders;
  readonly opening: RoomOpening;
  /** Our homeserver has left a room that its feed slept through. */
  readonly left: (roomId: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'wakes'>;
}

/**
 * Rooms that nobody awake has read for a while, and that somebody reads again: they are fed anew, their logs go on,
 * and what was missed is in them or is a gap. One that may be peeked no longer ends for those who slept.
 */
export class Waking {
  readonly #deps: WakingDeps;
  readonly #waking = new SingleFlight<void>();
  readonly #gate = new Gate(WOKEN_AT_ONCE);
  readonly #patience = new Patience();

  constructor(deps: WakingDeps) {
    this.#deps = deps;
  }

  /** Somebody who is awake reads the room. Nobody waits for what follows, and it never fails who calls. */
  wake(roomId: string): void {
    void this.#wake(roomId);
  }

  /** Wakes what a crash or a server that was away has left asleep. Rejects with `StoreDownError`. */
  async sweep(): Promise<void> {
    const { store, readers } = this.#deps;
    const asleep = (await store.logs.all()).filter(isAsleep);
    this.#patience.prune(new Set(asleep.map(({ roomId }) => roomId)));
    for (const { roomId } of asleep) if (await readers.hasReader(roomId)) this.wake(roomId);
  }

  #wake(roomId: string): Promise<void> {
    return this.#waking.run(roomId, async () => {
      const { store, clock, logger, metrics } = this.#deps;
      if (!this.#patience.mayTry(roomId, clock.now())) return;
      try {
        // Nearly always it is awake, and then its turn is not waited for.
        if (!isAsleep(await store.logs.get(roomId))) return;
        await this.#gate.run(() => this.#feed(roomId));
        this.#patience.succeeded(roomId);
      } catch (error) {
        if (error instanceof StoreDownError) return;
        metrics.wakes.inc({ outcome: 'failed' });
        const again = new Date(this.#patience.failed(roomId, clock.now())).toISOString();
        logger.warn(
          { room: roomId, reason: String(error), again },
          'a room that was asleep cannot be fed again just now: it is read from what is here, and tried again',
        );
      }
    });
  }

  async #feed(roomId: string): Promise<void> {
    const { store, homeserver, readers, opening, left, metrics } = this.#deps;
    const log = await store.logs.get(roomId);
    if (!isAsleep(log)) return;
    if (!(await readers.hasReader(roomId))) return;
    if (log.feed === 'resident') {
      if (!homeserver.readerReady()) throw new Error('the homeserver has no reader for its rooms');
      if ((await homeserver.membership(roomId)) === 'absent') return left(roomId);
    }
    try {
      await opening.opened(roomId, [], null, () => this.#endBanned(log));
    } catch (error) {
      const reason = whyItEnds(error, log);
      if (reason === null) throw error;
      metrics.wakes.inc({ outcome: 'closed' });
      return readers.queues.run(roomId, () => this.#end(roomId, reason));
    }
    metrics.wakes.inc({ outcome: 'fed' });
  }

  async #end(roomId: string, reason: string): Promise<void> {
    const { store, readers, logger } = this.#deps;
    if (!isAsleep(await store.logs.get(roomId))) return;
    logger.info({ room: roomId, reason }, 'a room that was asleep may be peeked no longer; its peeks end');
    await store.logs.append(roomId, { entries: [], close: { reason } });
    const closed = await store.logs.get(roomId);
    if (closed !== null) await readers.endClosed(closed);
  }

  /** The event that banned somebody may lie in the gap: their peeks end where the log stood before it. */
  async #endBanned(before: RoomLog): Promise<void> {
    const { store, opening, clock } = this.#deps;
    const log = await store.logs.get(before.roomId);
    if (log === null) return;
    for (const peek of await store.devicePeeks.ofRoom(log.roomId)) {
      if (!(await opening.hasBanned(peek.userId, log))) continue;
      const position = readableHead(before);
      await store.devicePeeks.end(peek, { at: clock.now(), reason: 'closed', position });
    }
  }
}

function isAsleep(log: RoomLog | null): log is RoomLog {
  return log !== null && log.closed === null && log.asleep !== null;
}

/**
 * Why a room ends that could not be woken, or null where it is only to be tried again: our homeserver does not show
 * it any more, or the server that it was peeked through refuses, and nobody else lets us. What a stranger among the
 * candidates says counts for nothing.
 */
function whyItEnds(error: unknown, { asleep }: RoomLog): string | null {
  if (!(error instanceof NobodyLetsUs)) {
    return error instanceof MatrixError && error.status === 403 ? 'visibility' : null;
  }
  const [server] = asleep?.via ?? [];
  const said = server === undefined ? error.status === 403 : refuses(error.by(server)?.kind);
  return said ? 'refused' : null;
}

function refuses(kind: 'forbidden' | 'not-found' | 'failed' | undefined): boolean {
  return kind === 'forbidden' || kind === 'not-found';
}
