import type { IgnoredUsers } from '../client-view/ignored-users.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { KeyRing, RemoteServers } from '../remote-servers/remote-servers.ts';
import { createHistoryAnswers } from '../room-reads/history/history-answers.ts';
import { ReadPlaces } from '../room-reads/read-places.ts';
import type { ReplicaSummaries } from '../room-reads/replica-summaries.ts';
import type { AnswerRead } from '../room-reads/room-read.ts';
import { SpaceHierarchy } from '../room-reads/space-hierarchy.ts';
import { StateReads } from '../room-reads/state-reads.ts';
import type { RoomWakes } from '../rooms/room-wakes.ts';
import type { StateAt } from '../rooms/state-at.ts';
import { WholeState } from '../rooms/whole-state.ts';
import type { Store } from '../store/store.ts';

export interface RoomAnswersDeps {
  readonly store: Store;
  readonly homeserver: Homeserver;
  readonly stateAt: StateAt;
  readonly wakes: RoomWakes;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly ignoredUsers: Pick<IgnoredUsers, 'of'>;
  readonly summaries: ReplicaSummaries;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/**
 * Who answers which `GET /rooms/{roomId}/…` of a remotely peeked room, by the first part of the path behind the room
 * ID; the handler sees all parts in `RoomRead.path`. One line for each endpoint. What is not here the homeserver
 * answers. When a handler is called it is certain that the caller peeks into the room and is not banned there, that
 * the log is open, and that the homeserver is not in the room.
 */
export function createRoomAnswers(deps: RoomAnswersDeps): ReadonlyMap<string, AnswerRead> {
  const { serverName } = deps.homeserver;
  const places = new ReadPlaces();
  const state = new StateReads({ ...deps, whole: new WholeState(deps), places });
  const space = new SpaceHierarchy(deps);
  return new Map<string, AnswerRead>([
    ['state', state.state],
    ['members', state.members],
    ['joined_members', state.joinedMembers],
    ['aliases', state.aliases],
    ...createHistoryAnswers({ ...deps, places, serverName }),
    ['hierarchy', space.hierarchy],
  ]);
}
