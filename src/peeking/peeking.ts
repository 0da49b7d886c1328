import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { RoomQueues } from '../feeds/room-queues.ts';
import { type Caller, type Homeserver, type Identity, NotReadable } from '../homeserver/homeserver.ts';
import { isRoomAlias, isRoomId, serverNameOf } from '../matrix/ids.ts';
import { isObject } from '../matrix/json.ts';
import type { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { pduOf } from '../rooms/log-entries.ts';
import { whyNotPeekable } from '../rooms/readable.ts';
import { readableHead } from '../rooms/timeline.ts';
import type { DevicePeek, RoomLog, Store } from '../store/store.ts';
import type { BecomingResident } from './becoming-resident.ts';
import type { RoomReaders } from './room-readers.ts';

export interface PeekingDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly outbound: OutboundPeeks;
  readonly learned: LearnedServers;
  readonly devicePeeks: DevicePeeks;
  readonly readers: RoomReaders;
  readonly becomingResident: BecomingResident;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Who peeks, and the credentials to ask the homeserver with in their name. */
export interface Peeker extends Identity {
  readonly caller: Caller;
}

/** The stories of a client: it peeks into a room, and stops. Rejections are `MatrixError`s, as MSC2753 has them. */
export class Peeking {
  readonly #deps: PeekingDeps;
  /** Stories about one room happen one after the other. */
  readonly #queues: RoomQueues;

  constructor(deps: PeekingDeps) {
    this.#deps = deps;
    this.#queues = deps.readers.queues;
  }

  /** Starts or renews a peek; `servers` are those the client named, best first. */
  async peek(
    who: Peeker,
    roomIdOrAlias: string,
    servers: readonly string[],
  ): Promise<{ roomId: string; expiresAt: number }> {
    const { roomId, known } = await this.#resolve(roomIdOrAlias);
    this.#deps.learned.learn(roomId, [...servers, ...known]);
    return this.opened(who, roomId, [...servers, ...known], async () => {
      const { peek } = await this.#deps.devicePeeks.begin(deviceOf(who), roomId);
      return { roomId, expiresAt: this.#deps.devicePeeks.expiresAt(peek) };
    });
  }

  /**
   * Opens the room's log, if this user may see the room, and has `begin` give it its reader; all in the room's turn.
   * After `servers` those are asked that were learned for the room, and the one that its ID names.
   */
  opened<T>(
    who: Peeker,
    roomId: string,
    servers: readonly string[],
    begin: (log: RoomLog) => Promise<T>,
  ): Promise<T> {
    const own = serverNameOf(roomId);
    const learned = this.#deps.learned.of(roomId);
    const candidates = [...servers, ...learned, ...(own === null ? [] : [own])];
    return this.#queues.run(roomId, async () => begin(await this.#open(who, roomId, candidates)));
  }

  /** Ends a peek of this device. */
  async unpeek(who: Identity, roomId: string): Promise<void> {
    const peeks = await this.#deps.devicePeeks.of(deviceOf(who));
    const peek = peeks.find((held) => held.roomId === roomId && held.ended === null);
    if (peek === undefined) {
      const known = isRoomId(roomId) && (await this.#isKnown(roomId));
      if (!known) throw new MatrixError(404, 'M_NOT_FOUND', 'No such room is known here');
      throw new MatrixError(400, 'M_BAD_STATE', 'This device does not peek into that room');
    }
    await this.end(peek, 'unpeek');
  }

  /** Ends a peek for any reason; what it was still owed is kept for its next `/sync`. */
  async end(peek: DevicePeek, reason: NonNullable<DevicePeek['ended']>['reason']): Promise<void> {
    const { store, clock, readers } = this.#deps;
    const log = await store.logs.get(peek.roomId);
    await store.devicePeeks.end(peek, {
      at: clock.now(),
      reason,
      position: log === null ? 0 : readableHead(log),
    });
    await readers.release(peek.roomId);
  }

  /** A user of ours is in the room now: that user's peeks on it end, on all devices, and are not told in `leave`. */
  async joined(userId: string, roomId: string): Promise<void> {
    for (const peek of await this.#deps.store.devicePeeks.ofRoom(roomId)) {
      if (peek.userId === userId) await this.end(peek, 'joined');
    }
    this.#deps.becomingResident.suspect(roomId);
  }

  async #resolve(roomIdOrAlias: string): Promise<{ roomId: string; known: readonly string[] }> {
    if (isRoomId(roomIdOrAlias)) return { roomId: roomIdOrAlias, known: [] };
    if (!isRoomAlias(roomIdOrAlias)) {
      throw new MatrixError(400, 'M_INVALID_PARAM', 'That is neither a room ID nor a room alias');
    }
    const found = await this.#deps.homeserver.resolveAlias(roomIdOrAlias);
    if (found === null)
      throw new MatrixError(404, 'M_NOT_FOUND', `The room alias ${roomIdOrAlias} was not found`);
    return { roomId: found.roomId, known: found.servers };
  }

  async #open(who: Peeker, roomId: string, candidates: readonly string[]): Promise<RoomLog> {
    const { homeserver, becomingResident, outbound } = this.#deps;
    if (homeserver.readerReady()) {
      const visibility = await this.#ownVisibility(roomId);
      if (visibility === 'not-readable') {
        const membership = await homeserver.membership(roomId);
        // What another device peeks there goes on until the homeserver has joined.
        if (membership === 'partial' && !outbound.isPeeked(roomId)) {
          throw new MatrixError(503, 'M_UNKNOWN', 'The homeserver is still joining this room', {
            retry_after_ms: 10_000,
          });
        }
        if (membership === 'resident') {
          if ((await homeserver.joinedRooms(who.caller)).includes(roomId)) refuseMember('join');
          throw new MatrixError(403, 'M_FORBIDDEN', 'The history of this room is not world-readable');
        }
      } else {
        await this.#checkMember(who, roomId);
        await this.#checkOpen(roomId);
        const log = await becomingResident.open(roomId);
        // Again now that the feed has its place: what closes the room from here on, the feed sees.
        await this.#checkOpen(roomId);
        return log;
      }
    }
    const log = await outbound.subscribe(roomId, candidates);
    await this.refuseBanned(who, roomId);
    return log;
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

  async #checkMember(who: Identity, roomId: string): Promise<void> {
    const member = await this.#deps.homeserver.stateEvent(roomId, 'm.room.member', who.userId);
    refuseMember(isObject(member?.content) ? member.content.membership : undefined);
  }

  async #checkOpen(roomId: string): Promise<void> {
    const { homeserver } = this.#deps;
    const [visibility, encryption] = await Promise.all([
      homeserver.stateEvent(roomId, 'm.room.history_visibility', ''),
      homeserver.stateEvent(roomId, 'm.room.encryption', ''),
    ]);
    const refusal = whyNotPeekable({ visibility, encryption });
    if (refusal !== null) throw new MatrixError(403, 'M_FORBIDDEN', refusal);
  }

  /** Rejects with 403 where a remotely peeked room has banned the user. To be called in the room's turn. */
  async refuseBanned(who: Identity, roomId: string): Promise<void> {
    const [member] = await this.#deps.store.replicas.stateOf(roomId, [['m.room.member', who.userId]]);
    const content = member === undefined ? undefined : pduOf(member).content;
    // The homeserver is not in the room, so only a ban can still mean something here.
    if (isObject(content) && content.membership === 'ban') {
      await this.#deps.readers.releaseNow(roomId);
      refuseMember('ban');
    }
  }

  async #isKnown(roomId: string): Promise<boolean> {
    if ((await this.#deps.store.logs.get(roomId)) !== null) return true;
    return (await this.#deps.homeserver.membership(roomId)) !== 'absent';
  }
}

function refuseMember(membership: unknown): void {
  if (membership === 'join') throw new MatrixError(400, 'M_BAD_STATE', 'You are in this room already');
  if (membership === 'ban') throw new MatrixError(403, 'M_FORBIDDEN', 'You are banned from this room');
}

/** Guests are keyed by user: what they are given as a device does not outlive the visit. */
export function deviceOf(who: Identity): { userId: string; deviceId: string } {
  return { userId: who.userId, deviceId: who.isGuest ? '' : who.deviceId };
}
