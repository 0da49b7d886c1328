import { type HistoryPlace, remoteHistoryToken } from '../../client-view/history-token.ts';
import { relationOf } from '../../client-view/relations.ts';
import { stateKeyOf } from '../../matrix/pdu.ts';
import type { AnswerRead } from '../room-read.ts';
import type { HistoryReads } from './history-reads.ts';
import type { HistorySession } from './history-session.ts';
import { directionOf, invalid, limitOf, notFound, unrecognised } from './read-query.ts';
import type { HistoryItem } from './room-history.ts';

/** Synapse's. */
const DEFAULT_LIMIT = 5;
/** Relations of relations that `recurse` follows (Synapse's). */
const MOST_DEPTH = 3;
/** Events that relate to others, looked at for one answer that needs them all. */
const MOST_GATHERED = 5_000;

interface Asked {
  readonly target: string;
  readonly relType: string | undefined;
  readonly eventType: string | undefined;
}

/**
 * `GET /rooms/{roomId}/relations/{eventId}[/{relType}[/{eventType}]]`. What relates to an event comes after it: it is
 * looked for from the newest event back to that one. `dir=f` and `recurse` need all of it at once; back from the
 * newest it comes page by page, with `next_batch` also where a page found little.
 */
export function relations(reads: HistoryReads): AnswerRead {
  return (read) =>
    reads.run(read, async (session) => {
      const [, target, relType, eventType, ...more] = read.path;
      if (target === undefined || target === '' || more.length > 0) throw unrecognised();
      const dir = directionOf(read.query, 'b');
      const limit = limitOf(read.query, DEFAULT_LIMIT);
      const recurse = read.query.get('recurse') ?? 'false';
      if (recurse !== 'true' && recurse !== 'false') throw invalid('recurse is neither true nor false');
      if ((await session.find(target)) === null) throw notFound();
      const asked: Asked = { target, relType, eventType };
      const whole = dir === 'f' || recurse === 'true';
      const found = whole
        ? await gathered(session, asked, { dir, limit, recurse: recurse === 'true' })
        : await paged(session, asked, limit);
      const from = read.query.get('from');
      return {
        chunk: await session.show(found.items),
        ...(found.end === null ? {} : { next_batch: remoteHistoryToken(found.end) }),
        ...(from === null || from === '' ? {} : { prev_batch: from }),
        ...(recurse === 'true' ? { recursion_depth: MOST_DEPTH } : {}),
      };
    });
}

async function paged(session: HistorySession, asked: Asked, limit: number) {
  return session.page({
    dir: 'b',
    from: (await session.place('from')) ?? session.newest,
    to: await session.place('to'),
    limit,
    matches: (item) => relationOf(item.pdu)?.target === asked.target && isWanted(item, asked),
    isLast: ({ eventId }) => eventId === asked.target,
  });
}

/** All that relates to the event, in the order asked for; a page of it. */
async function gathered(
  session: HistorySession,
  asked: Asked,
  { dir, limit, recurse }: { dir: 'b' | 'f'; limit: number; recurse: boolean },
): Promise<{ items: HistoryItem[]; end: HistoryPlace | null }> {
  const related = await session.backTo(asked.target, MOST_GATHERED, ({ pdu }) => {
    const relation = relationOf(pdu);
    return relation !== null && (recurse || relation.target === asked.target);
  });
  const wanted = new Set([asked.target]);
  const reached = new Set<string>();
  for (let depth = 0; depth < (recurse ? MOST_DEPTH : 1); depth++) {
    for (const { eventId, pdu } of related) {
      if (wanted.has(relationOf(pdu)?.target ?? '')) reached.add(eventId);
    }
    for (const eventId of reached) wanted.add(eventId);
  }
  const line = related.filter((item) => reached.has(item.eventId) && isWanted(item, asked));
  if (dir === 'f') line.reverse();
  const from = await session.place('from');
  const to = await session.place('to');
  const rest = session.between(line, { dir, from, to });
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  if (last === undefined || rest.length <= items.length) return { items, end: null };
  return { items, end: dir === 'b' ? last.before : last.after };
}

function isWanted({ pdu }: HistoryItem, { relType, eventType }: Asked): boolean {
  if (stateKeyOf(pdu) !== null) return false;
  if (relType !== undefined && relationOf(pdu)?.type !== relType) return false;
  return eventType === undefined || pdu.type === eventType;
}
