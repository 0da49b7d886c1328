import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { Homeserver, Identity } from '../homeserver/homeserver.ts';
import { isRoomAlias, isRoomId, serverNameOf } from '../matrix/ids.ts';
import type { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { MatrixError } from '../platform/matrix-error.ts';
import { readableHead } from '../rooms/timeline.ts';
import type { DevicePeek, RoomLog, Store } from '../store/store.ts';
import type { BecomingResident } from './becoming-resident.ts';
import type { Peeker, RoomOpening } from './room-opening.ts';
import type { RoomReaders } from './room-readers.ts';

export type { Peeker } from './room-opening.ts';

export interface PeekingDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly learned: LearnedServers;
  readonly devicePeeks: DevicePeeks;
  readonly readers: RoomReaders;
  readonly opening: RoomOpening;
  readonly becomingResident: BecomingResident;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Somebody may hold the room's turn and ask a homeserver that says nothing: it is not waited for longer. */
const RELEASE_GRACE_MS = 50;

/** The stories of a client: it peeks into a room, and stops. Rejections are `MatrixError`s, as MSC2753 has them. */
export class Peeking {
  readonly #deps: PeekingDeps;

  constructor(deps: PeekingDeps) {
    this.#deps = deps;
  }

  /** Starts or renews a peek; `servers` are those the client named, best first. */
  async peek(
    who: Peeker,
    roomIdOrAlias: string,
    servers: readonly string[],
  ): Promise<{ roomId: string; expiresAt: number }> {
    const { roomId, known } = await this.#resolve(roomIdOrAlias);
    const { learned, devicePeeks, opening } = this.#deps;
    await devicePeeks.refuseBeyondLimit(deviceOf(who), roomId);
    return this.opened(who, roomId, [...servers, ...known], async () => {
      const { peek } = await devicePeeks.begin(deviceOf(who), roomId);
      learned.learn(roomId, servers, 'named', `user ${who.userId}`);
      learned.learn(roomId, known, 'listed', `server ${serverNameOf(roomIdOrAlias)}`);
      learned.learn(roomId, opening.through(roomId), 'answered', 'peeks');
      return { roomId, expiresAt: devicePeeks.expiresAt(peek) };
    });
  }

  /**
   * Opens the room's log, if this user may see the room, and has `begin` give it its reader in the room's turn. After `servers` those are asked that were learned for the room, and the one that its ID names.
   */
  opened<T>(
    who: Peeker,
    roomId: string,
    servers: readonly string[],
    begin: (log: RoomLog) => Promise<T>,
  ): Promise<T> {
    const own = serverNameOf(roomId);
    const { opening, learned } = this.#deps;
    const candidates = [...servers, ...learned.of(roomId), ...(own === null ? [] : [own])];
    return opening.opened(roomId, candidates, who, begin);
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

  /**
   * Ends a peek for any reason; what it was still owed, up to the present end of the log or an earlier `position`, is
   * kept for its next `/sync`.
   */
  async end(
    peek: DevicePeek,
    reason: NonNullable<DevicePeek['ended']>['reason'],
    position = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const { store, clock } = this.#deps;
    const log = await store.logs.get(peek.roomId);
    await store.devicePeeks.end(peek, {
      at: clock.now(),
      reason,
      position: log === null ? 0 : Math.min(position, readableHead(log)),
    });
    await this.#release(peek.roomId);
  }

  /** What is left of it goes on beside; the next sweep makes up for a failure. */
  async #release(roomId: string): Promise<void> {
    const { readers, clock } = this.#deps;
    const done = new AbortController();
    await Promise.race([readers.releaseQuietly(roomId), clock.sleep(RELEASE_GRACE_MS, done.signal)]);
    done.abort();
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

  /** Rejects with 403 where a remotely peeked room has banned the user. To be called in the room's turn. */
  refuseBanned(who: Identity, roomId: string): Promise<void> {
    return this.#deps.opening.refuseBanned(who, roomId);
  }

  async #isKnown(roomId: string): Promise<boolean> {
    if ((await this.#deps.store.logs.get(roomId)) !== null) return true;
    return (await this.#deps.homeserver.membership(roomId)) !== 'absent';
  }
}

/** Guests are keyed by user: what they are given as a device does not outlive the visit. */
export function deviceOf(who: Identity): { userId: string; deviceId: string } {
  return { userId: who.userId, deviceId: who.isGuest ? '' : who.deviceId };
}
