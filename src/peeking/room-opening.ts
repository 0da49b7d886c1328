import { type Caller, type Homeserver, type Identity, NotReadable } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { pduOf } from '../rooms/log-entries.ts';
import { whyNotPeekable } from '../rooms/readable.ts';
import type { RoomLog, Store } from '../store/store.ts';
import type { BecomingResident } from './becoming-resident.ts';
import type { RoomReaders } from './room-readers.ts';

/** Who peeks, and the credentials to ask the homeserver with in their name. */
export interface Peeker extends Identity {
  readonly caller: Caller;
}

export interface RoomOpeningDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly outbound: OutboundPeeks;
  readonly readers: RoomReaders;
  readonly becomingResident: BecomingResident;
}

/** A room that was opened may be let go before its reader is there; so often it is opened again. */
const ASKED_OFTEN = 4;

/** Opens a room to those who peek: through our homeserver where it shows the room, else through another server. */
export class RoomOpening {
  readonly #deps: RoomOpeningDeps;

  constructor(deps: RoomOpeningDeps) {
    this.#deps = deps;
  }

  /**
   * Opens the room's log and has `begin` give it its reader, in the room's turn. Other servers are asked outside of
   * it: who names others joins those who ask already, and waits for none of them. `who` is refused where they are in
   * the room, or banned; null: nobody asks but those who peek already. Rejects with `MatrixError`: 403 and 400 as
   * MSC2753 has them, 503 while the homeserver joins, or `NobodyLetsUs` (403, 404, 502).
   */
  async opened<T>(
    roomId: string,
    candidates: readonly string[],
    who: Peeker | null,
    begin: (log: RoomLog) => Promise<T>,
  ): Promise<T> {
    const { readers, outbound } = this.#deps;
    const letGo = readers.hold(roomId);
    try {
      for (let asked = 0; asked < ASKED_OFTEN; asked++) {
        if (!outbound.isOpening(roomId)) {
          const begun = await readers.queues.run(roomId, async () => {
            const log = await this.#here(roomId, candidates, who, asked > 0);
            return log === null ? null : { reader: await begin(log) };
          });
          if (begun !== null) return begun.reader;
        }
        await outbound.subscribe(roomId, candidates, who?.userId);
      }
      throw new MatrixError(503, 'M_UNKNOWN', 'The room is opened and closed again all the time', {
        retry_after_ms: 10_000,
      });
    } finally {
      await letGo();
    }
  }

  /** The room's log, which is fed from then on; null where another server has to be asked. */
  async #here(
    roomId: string,
    candidates: readonly string[],
    who: Peeker | null,
    isAsked: boolean,
  ): Promise<RoomLog | null> {
    const { outbound } = this.#deps;
    // Whether our homeserver is in the room was asked before.
    const log = isAsked ? await outbound.opened(roomId, candidates) : null;
    if (log === null) return this.#open(roomId, candidates, who);
    if (who !== null) await this.refuseBanned(who, roomId);
    return log;
  }

  async #open(roomId: string, candidates: readonly string[], who: Peeker | null): Promise<RoomLog | null> {
    const { homeserver, becomingResident, outbound } = this.#deps;
    if (homeserver.readerReady()) {
      const visibility = await this.#ownVisibility(roomId);
      if (visibility === 'not-readable') await this.#refuseOwn(roomId, who);
      else {
        const [membership, encryption] = await Promise.all([
          who === null ? null : this.#membership(who.userId, { roomId, feed: 'resident' }),
          homeserver.stateEvent(roomId, 'm.room.encryption', ''),
        ]);
        refuseMember(membership);
        refuseClosed(visibility, encryption);
        const log = await becomingResident.open(roomId);
        // Again now that the feed has its place: what closes the room from here on, the feed sees.
        await this.#checkOpen(roomId);
        return log;
      }
    }
    const log = await outbound.opened(roomId, candidates);
    if (log !== null && who !== null) await this.refuseBanned(who, roomId);
    return log;
  }

  /** The servers that the room is peeked through. From memory. */
  through(roomId: string): readonly string[] {
    return this.#deps.outbound.servers(roomId, 0);
  }

  /** Whether the room, which is open, has banned this user. */
  async hasBanned(userId: string, log: RoomLog): Promise<boolean> {
    return (await this.#membership(userId, log)) === 'ban';
  }

  async #membership(userId: string, { roomId, feed }: Pick<RoomLog, 'roomId' | 'feed'>): Promise<unknown> {
    const { homeserver, store } = this.#deps;
    if (feed === 'resident')
      return membershipOf(await homeserver.stateEvent(roomId, 'm.room.member', userId));
    const [member] = await store.replicas.stateOf(roomId, [['m.room.member', userId]]);
    return member === undefined ? undefined : membershipOf(pduOf(member));
  }

  /** The visibility event of a room that our homeserver is in and that is open; else `'not-readable'`. */
  async #ownVisibility(roomId: string) {
    try {
      return await this.#deps.homeserver.stateEvent(roomId, 'm.room.history_visibility', '');
    } catch (error) {
      if (error instanceof NotReadable) return 'not-readable' as const;
      throw error;
    }
  }

  /** Returns where the room is not our homeserver's to refuse. */
  async #refuseOwn(roomId: string, who: Peeker | null): Promise<void> {
    const { homeserver, outbound } = this.#deps;
    const membership = await homeserver.membership(roomId);
    // What another device peeks there goes on until the homeserver has joined.
    if (membership === 'partial' && !outbound.isPeeked(roomId)) {
      throw new MatrixError(503, 'M_UNKNOWN', 'The homeserver is still joining this room', {
        retry_after_ms: 10_000,
      });
    }
    if (membership !== 'resident') return;
    if (who !== null && (await homeserver.joinedRooms(who.caller)).includes(roomId)) refuseMember('join');
    throw new MatrixError(403, 'M_FORBIDDEN', 'The history of this room is not world-readable');
  }

  async #checkOpen(roomId: string): Promise<void> {
    const { homeserver } = this.#deps;
    const [visibility, encryption] = await Promise.all([
      homeserver.stateEvent(roomId, 'm.room.history_visibility', ''),
      homeserver.stateEvent(roomId, 'm.room.encryption', ''),
    ]);
    refuseClosed(visibility, encryption);
  }

  /** Rejects with 403 where a remotely peeked room has banned the user. To be called in the room's turn. */
  async refuseBanned(who: Identity, roomId: string): Promise<void> {
    // The homeserver is not in the room, so only a ban can still mean something here.
    if ((await this.#membership(who.userId, { roomId, feed: 'remote' })) !== 'ban') return;
    await this.#deps.readers.releaseNow(roomId);
    refuseMember('ban');
  }
}

function membershipOf(event: { readonly content?: unknown } | null): unknown {
  return isObject(event?.content) ? event.content.membership : undefined;
}

function refuseMember(membership: unknown): void {
  if (membership === 'join') throw new MatrixError(400, 'M_BAD_STATE', 'You are in this room already');
  if (membership === 'ban') throw new MatrixError(403, 'M_FORBIDDEN', 'You are banned from this room');
}

function refuseClosed(visibility: JsonObject | null, encryption: JsonObject | null): void {
  const refusal = whyNotPeekable({ visibility, encryption });
  if (refusal !== null) throw new MatrixError(403, 'M_FORBIDDEN', refusal);
}
