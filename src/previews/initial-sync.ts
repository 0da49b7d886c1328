import { placeBefore, remoteHistoryToken } from '../client-view/history-token.ts';
import type { IgnoredUsers } from '../client-view/ignored-users.ts';
import type { JsonObject } from '../matrix/json.ts';
import type { Peeker } from '../peeking/peeking.ts';
import type { Preview, Previewing } from '../peeking/previewing.ts';
import type { Clock } from '../platform/clock.ts';
import { eachInTurns } from '../platform/turns.ts';
import type { StateAt } from '../rooms/state-at.ts';
import { readableHead, readNewest } from '../rooms/timeline.ts';
import type { WholeState } from '../rooms/whole-state.ts';
import type { Store } from '../store/store.ts';
import { placeAt } from './places.ts';
import type { ShownEvents } from './shown-events.ts';

export interface InitialSyncDeps {
  readonly store: Store;
  readonly previewing: Previewing;
  readonly stateAt: StateAt;
  readonly shownEvents: ShownEvents;
  readonly wholeState: WholeState;
  readonly ignoredUsers: IgnoredUsers;
  readonly clock: Clock;
}

/** Writes the answer to `GET /rooms/{roomId}/initialSync` (client-server API, "Room initial sync") out of a room's log. */
export class InitialSync {
  readonly #deps: InitialSyncDeps;

  constructor(deps: InitialSyncDeps) {
    this.#deps = deps;
  }

  /**
   * The newest `limit` events, oldest first, and the state after them. `start` leads back in `/messages`, `end` on in
   * `/events`, where the preview begins for a client that names no place. Of a room whose state is still being read,
   * the memberships may be missing that did not come before `soon` aborted.
   */
  async read(
    { peek, log: begun }: Preview,
    who: Peeker,
    limit: number,
    soon: AbortSignal,
  ): Promise<JsonObject & { readonly state: readonly JsonObject[] }> {
    const { store, previewing, stateAt, shownEvents, wholeState, ignoredUsers, clock } = this.#deps;
    const { roomId } = begun;
    const [ignored] = await Promise.all([ignoredUsers.of(who), wholeState.wait(roomId, soon)]);
    const log = (await store.logs.get(roomId)) ?? begun;
    const stretch = await readNewest(store, log, readableHead(log), { limit });
    const state = await stateAt.read(log, stretch.end, clock.now());
    const first = stretch.timeline[0];
    await eachInTurns(state, (event) => {
      event.room_id = roomId;
    });
    await previewing.shown(peek, stretch.start, stretch.end);
    return {
      room_id: roomId,
      messages: {
        chunk: await shownEvents.show(log, stretch.timeline, stretch.around, ignored),
        start: remoteHistoryToken(first === undefined ? placeAt(stretch.end) : placeBefore(first)),
        end: remoteHistoryToken(placeAt(stretch.end, stretch.timeline.at(-1))),
      },
      state,
      presence: [],
      receipts: [],
      account_data: [],
    };
  }
}
