import { matchesEvent } from '../../client-view/filter.ts';
import { remoteHistoryToken } from '../../client-view/history-token.ts';
import type { JsonObject } from '../../matrix/json.ts';
import type { Clock } from '../../platform/clock.ts';
import type { StateAt } from '../../rooms/state-at.ts';
import type { ReadPlaces } from '../read-places.ts';
import type { AnswerRead } from '../room-read.ts';
import { asFarAsHad, type HistoryReads } from './history-reads.ts';
import type { HistorySession, Page } from './history-session.ts';
import { filterOf, limitOf, notFound, unrecognised } from './read-query.ts';
import type { HistoryItem } from './room-history.ts';

/** The client-server API's. */
const DEFAULT_LIMIT = 10;
const NOTHING: Page = { items: [], end: null };

/** `GET /rooms/{roomId}/event/{eventId}`. */
export function event(reads: HistoryReads): AnswerRead {
  return (read) =>
    reads.run(read, async (session) => {
      const [shown] = await session.show([await target(session)]);
      return shown ?? {};
    });
}

/**
 * `GET /rooms/{roomId}/context/{eventId}`: an event with what is before and after it, and the state there. Of an event
 * older than the log, the state is that at the log's beginning, which is the oldest that is known.
 */
export function context(
  reads: HistoryReads,
  deps: { readonly stateAt: StateAt; readonly places: ReadPlaces; readonly clock: Clock },
): AnswerRead {
  return (read) =>
    reads.run(read, async (session) => {
      const limit = limitOf(read.query, DEFAULT_LIMIT);
      const filter = filterOf(read.query);
      const item = await target(session);
      const matches = session.wants(filter.timeline);
      const most = Math.floor(limit / 2);
      const page = (dir: 'b' | 'f', count: number) => {
        const from = dir === 'b' ? item.before : item.after;
        return asFarAsHad(() => session.page({ dir, from, limit: count, matches }), NOTHING);
      };
      const before = await page('b', most);
      const after = await page('f', limit - most);
      const items = [...before.items.toReversed(), item, ...after.items];
      const shown = await session.show(items, filter.eventFormat);
      const at = before.items.length;
      const last = after.items.at(-1) ?? item;
      const senders = filter.lazyLoadMembers ? new Set(items.map(({ pdu }) => pdu.sender)) : null;
      const state = (await stateAfter(session, last, deps)).filter(
        (one) =>
          (senders === null || one.type !== 'm.room.member' || senders.has(one.state_key)) &&
          matchesEvent(filter.state, one, session.room.roomId),
      );
      return {
        event: shown[at] ?? {},
        events_before: shown.slice(0, at).toReversed(),
        events_after: shown.slice(at + 1),
        state,
        start: remoteHistoryToken(before.items.at(-1)?.before ?? item.before),
        end: remoteHistoryToken(last.after),
      };
    });
}

async function target(session: HistorySession): Promise<HistoryItem> {
  const [, eventId, ...more] = session.read.path;
  if (eventId === undefined || eventId === '' || more.length > 0) throw unrecognised();
  const item = await session.find(eventId);
  if (item === null) throw notFound();
  return item;
}

async function stateAfter(
  { read, room }: HistorySession,
  { after }: HistoryItem,
  { stateAt, places, clock }: { stateAt: StateAt; places: ReadPlaces; clock: Clock },
): Promise<JsonObject[]> {
  const position = after.kind === 'log' ? after.position : room.log.tail - 1;
  const free = await places.take(read);
  let events: JsonObject[] = [];
  try {
    events = await stateAt.read(room.log, position, clock.now());
    return events.map((one) => ({ ...one, room_id: room.roomId }));
  } finally {
    free(events.length);
  }
}
