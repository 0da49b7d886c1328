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
      const { replies, newest, end } = await gathered(session, from, isEnough);
      const roots: HistoryItem[] = [];
      let last: HistoryItem | null = null;
      for (const [rootId, reply] of newest) {
        if (!isWithin(reply, from)) continue;
        if (include === 'participated' && !isOf(session, rootId, replies)) {
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

/** Thread replies, newest first, and the newest one of each thread; `end`: where there may be more. */
async function gathered(
  session: HistorySession,
  from: HistoryPlace | null,
  isEnough: (newest: ReadonlyMap<string, HistoryItem>) => boolean,
) {
  const replies: HistoryItem[] = [];
  const newest = new Map<string, HistoryItem>();
  let end: HistoryPlace | null = session.newest;
  for (let pages = 0; end !== null && pages < MOST_PAGES && !isEnough(newest); ) {
    const start: HistoryPlace = end;
    const page: Page | null = await asFarAsHad(() => session.page({ ...REPLIES, from: start }), null);
    if (page === null) break;
    for (const reply of page.items) {
      replies.push(reply);
      const root = relationOf(reply.pdu)?.target ?? '';
      if (!newest.has(root)) newest.set(root, reply);
    }
    end = page.end;
    const last = page.items.at(-1);
    if (last === undefined || isWithin(last, from)) pages++;
  }
  return { replies, newest, end };
}

function isWithin(reply: HistoryItem, from: HistoryPlace | null): boolean {
  return from === null || isBefore(reply, from);
}

function answer(chunk: Awaited<ReturnType<HistorySession['show']>>, end: HistoryItem['before'] | null) {
  return { chunk, ...(end === null ? {} : { next_batch: remoteHistoryToken(end) }) };
}

function isOf({ read }: HistorySession, rootId: string, replies: readonly HistoryItem[]): boolean {
  return replies.some(({ pdu }) => pdu.sender === read.who.userId && relationOf(pdu)?.target === rootId);
}

/** A root that is hidden, ignored or not to be had is left out. */
async function rootOf(session: HistorySession, rootId: string): Promise<HistoryItem | null> {
  return asFarAsHad(() => session.find(rootId), null);
}
