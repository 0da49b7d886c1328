import type { Caller, Homeserver } from '../homeserver/homeserver.ts';
import { serverNameOf } from '../matrix/ids.ts';
import type { JsonObject } from '../matrix/json.ts';
import { NobodyLetsUs } from '../outbound-peeks/candidates.ts';
import type { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import type { Peeker } from '../peeking/peeking.ts';
import type { Preview, Previewing } from '../peeking/previewing.ts';
import type { Residency } from '../peeking/residency.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { InitialSync } from './initial-sync.ts';
import { SharedRefusals } from './shared-refusals.ts';
import { UnpeekableRooms } from './unpeekable-rooms.ts';

/** A client waits so much longer than it would for the homeserver alone. */
const PATIENCE_MS = 2_000;
/** … of which it takes so much, at most, until the answer is written with what is there. */
const SOON_MS = 1_500;
/** State of no more events is not worth a place: some hundred kilobytes. */
const FEW_EVENTS = 500;

export interface PreviewsDeps {
  readonly homeserver: Pick<Homeserver, 'whoami' | 'serverName'>;
  readonly previewing: Previewing;
  readonly residency: Residency;
  readonly learned: LearnedServers;
  readonly initialSync: InitialSync;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Rejects when the user reads too much. */
  readonly reads: { spend(userId: string): Promise<void> };
  /**
   * A place for what holds the whole state of a room, until the client has taken it: resolves with what is to be called
   * then, with the number of events. Rejects when too many wait, or `signal` aborts.
   */
  readonly places: {
    take(read: { readonly who: Peeker; readonly signal: AbortSignal }): Promise<(events: number) => void>;
  };
  /** Rejects when there were too many rooms to be opened. */
  readonly openings: { spend(userId: string): Promise<void> };
}

/** A preview, and whose it is. */
interface Opened {
  readonly preview: Preview;
  readonly who: Peeker;
}

/**
 * Rooms that our homeserver is not in, for clients that know no peeks: they ask for a room's initial sync, and have
 * the homeserver's own refusal where nobody lets us peek.
 */
export class Previews {
  readonly #deps: PreviewsDeps;
  readonly #unpeekable: UnpeekableRooms;
  readonly #opening = new SharedRefusals();

  constructor(deps: PreviewsDeps) {
    this.#deps = deps;
    this.#unpeekable = new UnpeekableRooms(deps.clock);
    deps.learned.onNew((roomId) => this.#unpeekable.delete(roomId));
  }

  /**
   * Sends the room's initial sync; false where the homeserver's own answer is to stand. Takes two seconds at most until
   * it is sent: what takes longer goes on, so that a client that asks again later finds the room open. Rejects as
   * `send` alone.
   */
  async show(
    caller: Caller,
    roomId: string,
    limit: number,
    send: (shown: JsonObject) => Promise<void>,
  ): Promise<boolean> {
    const taken = Promise.withResolvers<void>();
    try {
      const [outcome, shown] = await this.#inTime(roomId, async (soon) => {
        const opened = await this.#open(caller, roomId);
        return opened && this.#read(opened, limit, soon, taken.promise);
      });
      this.#deps.metrics.previews.inc({ outcome });
      if (shown !== null) await send(shown);
      return shown !== null;
    } finally {
      taken.resolve();
    }
  }

  /** Whether the room is peeked at another server already: then the homeserver need not be asked. From memory. */
  isOpen(roomId: string): boolean {
    return this.#deps.previewing.isOpen(roomId);
  }

  /** Goes on with a preview that was let go since its client was silent. Says whether it could; otherwise as `show`. */
  async resume(caller: Caller, roomId: string): Promise<boolean> {
    const [, opened] = await this.#inTime(roomId, () => this.#open(caller, roomId));
    return opened !== null;
  }

  /** Large rooms are read one after the other for one user, and few at once for all. */
  async #read(
    { preview, who }: Opened,
    limit: number,
    soon: AbortSignal,
    taken: Promise<void>,
  ): Promise<JsonObject> {
    const { initialSync, places } = this.#deps;
    const free = await places.take({ who, signal: soon });
    let events = 0;
    try {
      const shown = await initialSync.read(preview, who, limit, soon);
      events = shown.state.length;
      return shown;
    } finally {
      if (events <= FEW_EVENTS) free(events);
      else void taken.then(() => free(events));
    }
  }

  async #inTime<T>(
    roomId: string,
    work: (soon: AbortSignal) => Promise<T | null>,
  ): Promise<['shown', T] | ['refused' | 'slow', null]> {
    const { clock, logger } = this.#deps;
    const done = new AbortController();
    const tooLate = clock.sleep(PATIENCE_MS, done.signal).then(() => 'slow' as const);
    const soon = new AbortController();
    const timer = clock.after(SOON_MS, () => soon.abort());
    const worked = work(soon.signal).catch((error: unknown) => {
      if (error instanceof NobodyLetsUs) this.#unpeekable.add(roomId);
      logger.info(
        { room: roomId, reason: String(error) },
        'a room could not be previewed; the homeserver answers',
      );
      return null;
    });
    const result = await Promise.race([worked.then((value) => ({ value })), tooLate]);
    done.abort();
    timer.cancel();
    if (result === 'slow') {
      this.#unpeekable.add(roomId);
      return ['slow', null];
    }
    return result.value === null ? ['refused', null] : ['shown', result.value];
  }

  /** Null where there is no use in trying. Rejects where the room cannot be opened, or the user tries too often. */
  async #open(caller: Caller, roomId: string): Promise<Opened | null> {
    const { homeserver, residency, previewing, learned, reads, openings } = this.#deps;
    const isOpen = previewing.isOpen(roomId);
    if (!isOpen && !(await this.#mayBeOpened(roomId))) return null;
    const who = { ...(await homeserver.whoami(caller)), caller };
    await (isOpen ? reads : openings).spend(who.userId);
    if (!(await residency.isAbsent(roomId))) {
      this.#unpeekable.add(roomId);
      return null;
    }
    const isNew = !previewing.mayRead(who, roomId);
    // Whom a refusal came from says nothing of servers that were learned since.
    const asked = JSON.stringify([roomId, ...learned.of(roomId)]);
    const preview = await this.#opening.run(asked, () => previewing.begin(who, roomId));
    if (isNew) this.#deps.logger.info({ user: who.userId, room: roomId }, 'a preview was begun');
    this.#unpeekable.delete(roomId);
    return { preview, who };
  }

  /** Whether a server is known that may have the room, and it has not just been tried. */
  async #mayBeOpened(roomId: string): Promise<boolean> {
    const { previewing, learned, homeserver } = this.#deps;
    if (this.#unpeekable.has(roomId)) return false;
    const domain = serverNameOf(roomId);
    if (domain !== null && domain !== homeserver.serverName) return true;
    return learned.of(roomId).length > 0 || previewing.isAsleep(roomId);
  }
}
