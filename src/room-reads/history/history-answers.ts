import type { IgnoredUsers } from '../../client-view/ignored-users.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { KeyRing, RemoteServers } from '../../remote-servers/remote-servers.ts';
import { MemberServers } from '../../rooms/member-servers.ts';
import type { StateAt } from '../../rooms/state-at.ts';
import type { Store } from '../../store/store.ts';
import type { ReadPlaces } from '../read-places.ts';
import type { AnswerRead } from '../room-read.ts';
import { HistoryReads } from './history-reads.ts';
import { messages } from './messages.ts';
import { PastEvents } from './past-event.ts';
import { PastLoader } from './past-loader.ts';
import { PastServers } from './past-servers.ts';
import { relations } from './relations-of.ts';
import { RoomHistory } from './room-history.ts';
import { RoomNotes } from './room-notes.ts';
import { context, event } from './single-events.ts';
import { threads } from './threads.ts';
import { timestampToEvent } from './timestamp-to-event.ts';

export interface HistoryAnswersDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly keys: KeyRing;
  readonly ignoredUsers: Pick<IgnoredUsers, 'of'>;
  readonly stateAt: StateAt;
  readonly places: ReadPlaces;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly serverName: string;
}

/** Reads of the history of remotely peeked rooms, by the first part of their path behind the room ID. */
export function createHistoryAnswers(deps: HistoryAnswersDeps): [string, AnswerRead][] {
  const events = new PastEvents();
  const servers = new PastServers({ ...deps, memberServers: new MemberServers(deps) });
  const loader = new PastLoader({ ...deps, past: events }, servers);
  const past = { store: deps.store, loader, past: events };
  const reads = new HistoryReads({
    ...deps,
    past,
    history: new RoomHistory(past),
    notes: new RoomNotes(deps.store, events),
  });
  return [
    ['messages', messages(reads)],
    ['context', context(reads, deps)],
    ['event', event(reads)],
    ['relations', relations(reads)],
    ['threads', threads(reads)],
    ['timestamp_to_event', timestampToEvent(reads)],
  ];
}
