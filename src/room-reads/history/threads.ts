import { type HistoryPlace, remoteHistoryToken } from '../../client-view/history-token.ts';
import { relationOf } from '../../client-view/relations.ts';
import type { AnswerRead } from '../room-read.ts';
import { asFarAsHad, type HistoryReads } from './history-reads.ts';
import type { HistorySession, Page } from './history-session.ts';
import { invalid, limitOf, unrecognised } from './read-query.ts';
import { type HistoryItem, isBefore } from './room-history.ts';

/** Synapse's. */
const DEFAULT_LIMIT = 5;
const REPLIES = {
  dir: 'b',
  limit: 1_000,
  matches: ({ pdu }: HistoryItem) => relationOf(pdu)?.type === 'm.thread',
} as const;
/** Pages of a thousand events that are looked through behind `from`. */
const MOST_PAGES = 5;

/**
 * `GET /rooms/{roomId}/threads`: the roots of threads, those with the newest reply first. Looked for back from the
 * newest event, as far as one read goes; the rest from `next_batch` on.
 */
export function threads(reads: HistoryReads): AnswerRead {
  return (read) =>
    reads.run(read, async (session) => {
      if (read.path.length > 1) throw unrecognised();
      const include = read.query.get('include') ?? 'all';
      if (include !== 'all' && include !== 'participated') {
        throw invalid('include is neither all nor participated');
      }
      const limit = limitOf(read.query, DEFAULT_LIMIT);
      const from = await session.place('from');
      const isEnough = (found: ReadonlyMap<string, HistoryItem>) =>
        include === 'all' && [...found.values()].filter((reply) => isWithin(reply, from)).length > limit;
      const { own, newest, end } = await gathered(session, from, isEnough);
      const roots: HistoryItem[] = [];
      let last: HistoryItem | null = null;
      for (const [rootId, reply] of newest) {
        if (!isWithin(reply, from)) continue;
        if (include === 'participated' && !own.has(rootId)) {
          const root = await rootOf(session, rootId);
          if (root?.pdu.sender !== session.read.who.userId) continue;
        }
        if (roots.length === limit) {
          const next = last === null ? null : last.before;
          return answer(await session.show(roots), next);
        }
        const root = await rootOf(session, rootId);
        if (root === null) continue;
        roots.push(root);
        last = reply;
      }
      return answer(await session.show(roots), end);
    });
}

/**
 * The newest reply of each thread, newest first, by its place alone: there may be thousands. `own`: threads in which
 * the user replied; `end`: where there may be more.
 */
async function gathered(
  session: HistorySession,
  from: HistoryPlace | null,
  isEnough: (newest: ReadonlyMap<string, HistoryItem>) => boolean,
) {
  const { userId } = session.read.who;
  const own = new Set<string>();
  const newest = new Map<string, HistoryItem>();
  let end: HistoryPlace | null = session.newest;
  for (let pages = 0; end !== null && pages < MOST_PAGES && !isEnough(newest); ) {
    const start: HistoryPlace = end;
    const page: Page | null = await asFarAsHad(() => session.page({ ...REPLIES, from: start }), null);
    if (page === null) break;
    for (const reply of page.items) {
      const root = relationOf(reply.pdu)?.target ?? '';
      if (reply.pdu.sender === userId) own.add(root);
      if (!newest.has(root)) newest.set(root, { ...reply, pdu: { depth: reply.pdu.depth ?? 0 } });
    }
    end = page.end;
    const last = page.items.at(-1);
    if (last === undefined || isWithin(last, from)) pages++;
  }
  return { own, newest, end };
}

function isWithin(reply: HistoryItem, from: HistoryPlace | null): boolean {
  return from === null || isBefore(reply, from);
}

function answer(chunk: Awaited<ReturnType<HistorySession['show']>>, end: HistoryItem['before'] | null) {
  return { chunk, ...(end === null ? {} : { next_batch: remoteHistoryToken(end) }) };
}

/** A root that is hidden, ignored or not to be had is left out. */
async function rootOf(session: HistorySession, rootId: string): Promise<HistoryItem | null> {
  return asFarAsHad(() => session.find(rootId), null);
}
