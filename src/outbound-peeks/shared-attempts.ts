import type { Clock } from '../platform/clock.ts';
import type { RoomLog } from '../store/store.ts';
import { combinedRefusal, failureOf } from './candidates.ts';
import { type RoomRace, WITHIN_MS } from './subscriber.ts';

interface Attempt {
  readonly race: RoomRace;
  readonly opened: Promise<RoomLog>;
}

export interface SharedAttemptsDeps {
  readonly clock: Clock;
  readonly race: () => RoomRace;
  /** Opens the room through whom the race finds. */
  readonly open: (roomId: string, race: RoomRace) => Promise<RoomLog>;
}

/** Rooms that are being opened, one attempt for each: whoever wants a room too joins it with the servers they name. */
export class SharedAttempts {
  readonly #deps: SharedAttemptsDeps;
  readonly #attempts = new Map<string, Attempt>();

  constructor(deps: SharedAttemptsDeps) {
    this.#deps = deps;
  }

  has(roomId: string): boolean {
    return this.#attempts.has(roomId);
  }

  /** Rejects with `NobodyLetsUs` for the servers of this caller, or with what the attempt failed with otherwise. */
  async join(roomId: string, servers: readonly string[], owner: string): Promise<RoomLog> {
    const { clock } = this.#deps;
    const until = clock.now() + WITHIN_MS;
    for (;;) {
      const { race, opened } = this.#attempts.get(roomId) ?? this.#begin(roomId);
      const lost = race.join({ owner, servers, until }).then((end) => ({ end }));
      const outcome = await Promise.race([opened.then((log) => ({ log })), lost]);
      if ('log' in outcome) return outcome.log;
      const { end } = outcome;
      if (end !== 'again') throw combinedRefusal(end.map(({ server, error }) => failureOf(server, error)));
      await opened.catch(() => undefined);
    }
  }

  #begin(roomId: string): Attempt {
    const race = this.#deps.race();
    const opened = Promise.resolve()
      .then(() => this.#deps.open(roomId, race))
      .finally(() => this.#attempts.delete(roomId));
    opened.catch(() => undefined);
    const attempt = { race, opened };
    this.#attempts.set(roomId, attempt);
    return attempt;
  }
}
