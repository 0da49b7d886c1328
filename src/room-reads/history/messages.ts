import { remoteHistoryToken } from '../../client-view/history-token.ts';
import type { AnswerRead } from '../room-read.ts';
import type { HistoryReads } from './history-reads.ts';
import { directionOf, filterOf, limitOf, unrecognised } from './read-query.ts';

/** The client-server API's, and Synapse's. */
const DEFAULT_LIMIT = 10;

/** `GET /rooms/{roomId}/messages`: a page of the history, from a token or from either end. */
export function messages(reads: HistoryReads): AnswerRead {
  return (read) =>
    reads.run(read, async (session) => {
      if (read.path.length > 1) throw unrecognised();
      const dir = directionOf(read.query, 'f');
      const filter = filterOf(read.query);
      const limit = limitOf(read.query, filter.timelineLimit ?? DEFAULT_LIMIT);
      const from = (await session.place('from')) ?? (dir === 'b' ? session.newest : session.oldest);
      const to = await session.place('to');
      const matches = session.wants(filter.timeline);
      const { items, end } = await session.page({ dir, from, to, limit, matches });
      const chunk = await session.show(items, filter.eventFormat);
      return {
        chunk,
        start: remoteHistoryToken(from),
        ...(end === null ? {} : { end: remoteHistoryToken(end) }),
        ...(filter.lazyLoadMembers ? { state: await session.membersOf(items, filter) } : {}),
      };
    });
}
