import { describe, expect, test } from 'vitest';
import { newEntry } from '../../../src/rooms/log-entries.ts';
import { readableHead, readNewest, readOn, type Stretch } from '../../../src/rooms/timeline.ts';
import type { LogEntry } from '../../../src/store/store.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';

const ROOM = '!room:there.test';

interface Sketch {
  /** `m.room.topic` with an empty key, say; null for messages. */
  readonly state?: string;
  readonly hidden?: boolean;
  readonly body?: string;
}

/** A log that begins at position 100, of events named `$0`, `$1` … */
async function logOf(sketches: readonly Sketch[], close = false) {
  const { store } = await PeekingHouse.open();
  const about = {
    roomId: ROOM,
    roomVersion: '10',
    feed: 'remote',
    openedAt: 0,
    firstPosition: 100,
  } as const;
  await store.logs.open(about);
  const entries = sketches.map((sketch, i) => {
    const state = sketch.state === undefined ? {} : { state_key: '' };
    const pdu = {
      type: sketch.state ?? 'm.room.message',
      content: sketch.body === undefined ? {} : { body: sketch.body },
      ...state,
    };
    const flags = { shown: sketch.hidden !== true, applied: true };
    return newEntry({ eventId: `$${i}`, pdu, replaces: null }, 0, flags);
  });
  await store.logs.append(ROOM, { entries, ...(close ? { close: { reason: 'visibility' } } : {}) });
  const log = async () => {
    const found = await store.logs.get(ROOM);
    if (found === null) throw new Error('no log');
    return found;
  };
  return { store, log };
}

function ids(stretch: Stretch) {
  return {
    timeline: stretch.timeline.map(({ eventId }) => eventId),
    state: stretch.skippedState.map(({ eventId }) => eventId),
    limited: stretch.limited,
    gap: stretch.gap,
    start: stretch.start,
    end: stretch.end,
  };
}

const plain = (count: number): Sketch[] => Array.from({ length: count }, () => ({}));

test('of large events only so many are read as are shown, and a few megabytes; what lies before them is a gap', async () => {
  const body = 'x'.repeat(60_000);
  const { store, log } = await logOf(Array.from({ length: 700 }, () => ({ body })));
  const readLast = store.logs.readLast.bind(store.logs);
  let read = 0;
  store.logs.readLast = async (...args) => {
    const entries = await readLast(...args);
    read += entries.length;
    return entries;
  };
  const stretch = await readOn(store, await log(), 99, 799, { limit: 50 });
  expect(ids(stretch)).toMatchObject({ limited: true, gap: true, start: 749, end: 799 });
  expect(stretch.timeline).toHaveLength(50);
  expect(read).toBe(100);
  expect((await readOn(store, await log(), 99, 799, { limit: 300 })).timeline).toHaveLength(300);
  expect((await readNewest(store, await log(), 799, { limit: 20, select: () => [] })).timeline).toEqual([]);
  expect(read).toBeLessThan(1_000);
});

describe('what follows a cursor', () => {
  test('is every event after it, oldest first, and nothing for a cursor at the head', async () => {
    const { store, log } = await logOf(plain(4));
    expect(ids(await readOn(store, await log(), 101, 103, { limit: 50 }))).toEqual({
      timeline: ['$2', '$3'],
      state: [],
      limited: false,
      gap: false,
      start: 101,
      end: 103,
    });
    expect(ids(await readOn(store, await log(), 103, 103, { limit: 50 }))).toMatchObject({
      timeline: [],
      limited: false,
    });
  });

  test('above the limit is the newest ones, limited, with the last state of each slot skipped before', async () => {
    const { store, log } = await logOf([
      { state: 'm.room.topic' },
      { state: 'm.room.topic' },
      { state: 'm.room.name' },
      {},
      { state: 'm.room.topic' },
      {},
    ]);
    expect(ids(await readOn(store, await log(), 99, 105, { limit: 2 }))).toEqual({
      timeline: ['$4', '$5'],
      state: ['$1', '$2'],
      limited: true,
      gap: false,
      start: 103,
      end: 105,
    });
  });

  test('with a limit of 0 is no event, limited, and all changed state', async () => {
    const { store, log } = await logOf([{}, { state: 'm.room.topic' }]);
    expect(ids(await readOn(store, await log(), 99, 101, { limit: 0 }))).toMatchObject({
      timeline: [],
      state: ['$1'],
      limited: true,
      start: 101,
    });
  });

  test('hidden entries are never in it and make nothing limited', async () => {
    const { store, log } = await logOf([{}, { hidden: true }, { hidden: true, state: 'm.room.aliases' }, {}]);
    expect(ids(await readOn(store, await log(), 99, 103, { limit: 2 }))).toMatchObject({
      timeline: ['$0', '$3'],
      state: [],
      limited: false,
    });
  });

  test('behind the pruned end is limited and says that there is a gap', async () => {
    const { store, log } = await logOf(plain(6));
    await store.logs.prune(ROOM, 103);
    expect(ids(await readOn(store, await log(), 101, 105, { limit: 50 }))).toMatchObject({
      timeline: ['$3', '$4', '$5'],
      limited: true,
      gap: true,
      start: 102,
    });
    expect(ids(await readOn(store, await log(), 102, 105, { limit: 50 }))).toMatchObject({
      gap: false,
      limited: false,
    });
  });

  test('is read whole where it is longer than one page', async () => {
    const { store, log } = await logOf(plain(1203));
    const stretch = await readOn(store, await log(), 99, 1302, { limit: Number.MAX_SAFE_INTEGER });
    expect(stretch.timeline.map(({ position }) => position)).toEqual(
      Array.from({ length: 1203 }, (_, i) => 100 + i),
    );
  });

  test('that is old, forged or beyond reason costs a bounded read: a gap behind the newest events', async () => {
    const { store, log } = await logOf([
      { state: 'm.room.name' },
      ...plain(2000),
      { state: 'm.room.topic' },
      ...plain(999),
    ]);
    let read = 0;
    const readLast = store.logs.readLast.bind(store.logs);
    store.logs.readLast = async (roomId, upTo, limit) => {
      const entries = await readLast(roomId, upTo, limit);
      expect(entries.length).toBeLessThanOrEqual(500);
      read += entries.length;
      return entries;
    };
    const head = (await log()).head;
    const stretch = ids(await readOn(store, await log(), 99, head, { limit: 20 }));
    expect(stretch).toMatchObject({
      state: ['$2001'],
      limited: true,
      gap: true,
      start: head - 20,
      end: head,
    });
    expect(stretch.timeline).toHaveLength(20);
    expect(read).toBe(1020);
    expect(ids(await readOn(store, await log(), head - 1020, head, { limit: 20 }))).toMatchObject({
      gap: false,
    });
    expect(ids(await readOn(store, await log(), head - 1021, head, { limit: 20 }))).toMatchObject({
      gap: true,
    });
    expect(ids(await readOn(store, await log(), Number.MIN_SAFE_INTEGER, head, { limit: 0 }))).toMatchObject({
      gap: true,
    });
  });

  test('lets other work have its turn between two pages', async () => {
    const { store, log } = await logOf(plain(1000));
    const order: string[] = [];
    const reading = readOn(store, await log(), 99, 1099, { limit: 2000 }).then(() => order.push('read'));
    setImmediate(() => order.push('other'));
    await reading;
    expect(order).toEqual(['other', 'read']);
  });

  test('a cursor from beyond the head (an older store came back) is at the head', async () => {
    const { store, log } = await logOf(plain(2));
    expect(ids(await readOn(store, await log(), 9_999, 101, { limit: 50 }))).toMatchObject({
      timeline: [],
      gap: false,
      end: 101,
    });
  });
});

describe('a selection', () => {
  const sparse = (count: number, of: number): Sketch[] =>
    Array.from({ length: count }, (_, i) => (i % of === 0 ? {} : { state: 'org.test' }));
  const messages = { select: (shown: readonly LogEntry[]) => shown.filter((e) => e.stateKey === null) };

  test('is made before the limit counts: what is not wanted makes nothing limited', async () => {
    const { store, log } = await logOf(sparse(20, 5));
    expect(ids(await readOn(store, await log(), 99, 119, { limit: 4, ...messages }))).toMatchObject({
      timeline: ['$0', '$5', '$10', '$15'],
      limited: false,
      start: 99,
    });
    expect(ids(await readOn(store, await log(), 99, 119, { limit: 2, ...messages }))).toMatchObject({
      timeline: ['$10', '$15'],
      limited: true,
      start: 109,
    });
  });

  test('that keeps state out of the timeline leaves it to be told beside, the last of each slot', async () => {
    const { store, log } = await logOf([
      { state: 'm.room.topic' },
      {},
      { state: 'm.room.topic' },
      { state: 'm.room.name' },
      {},
    ]);
    expect(ids(await readOn(store, await log(), 99, 104, { limit: 50, ...messages })).state).toEqual([
      '$2',
      '$3',
    ]);
    const topics = (shown: readonly LogEntry[]) => shown.filter((e) => e.type !== 'm.room.name');
    expect(ids(await readOn(store, await log(), 99, 104, { limit: 50, select: topics })).state).toEqual([
      '$3',
    ]);
    expect(ids(await readOn(store, await log(), 99, 104, { limit: 3, select: topics }))).toMatchObject({
      timeline: ['$1', '$2', '$4'],
      state: ['$0', '$3'],
    });
  });

  test('has beside it all that was shown from its first event on', async () => {
    const { store, log } = await logOf(sparse(10, 4));
    const stretch = await readOn(store, await log(), 99, 109, { limit: 2, ...messages });
    expect(stretch.around.map(({ eventId }) => eventId)).toEqual(['$4', '$5', '$6', '$7', '$8', '$9']);
  });

  test('of few is looked for a thousand entries back in a first sight, and no further', async () => {
    const { store, log } = await logOf(sparse(2000, 200));
    const few = await readNewest(store, await log(), 2099, { limit: 3, ...messages });
    expect(ids(few).timeline).toEqual(['$1400', '$1600', '$1800']);
    let read = 0;
    const readLast = store.logs.readLast.bind(store.logs);
    store.logs.readLast = async (roomId, upTo, limit) => {
      const entries = await readLast(roomId, upTo, limit);
      read += entries.length;
      return entries;
    };
    const most = await readNewest(store, await log(), 2099, { limit: 20, ...messages });
    expect(ids(most).timeline).toEqual(['$1000', '$1200', '$1400', '$1600', '$1800']);
    expect(read).toBeLessThan(3_000);
    const none = await readNewest(store, await log(), 2099, { limit: 20, select: () => [] });
    expect(ids(none)).toMatchObject({ timeline: [], limited: true, end: 2099 });
  });
});

describe('a first sight', () => {
  test('is the newest events, limited, from just before the first of them', async () => {
    const { store, log } = await logOf(plain(30));
    const stretch = await readNewest(store, await log(), 129, { limit: 20 });
    expect(stretch.timeline).toHaveLength(20);
    expect(ids(stretch)).toMatchObject({ limited: true, gap: false, start: 109, end: 129 });
  });

  test('is limited even where the log holds fewer than asked for', async () => {
    const { store, log } = await logOf(plain(2));
    expect(ids(await readNewest(store, await log(), 101, { limit: 20 }))).toMatchObject({
      timeline: ['$0', '$1'],
      limited: true,
      start: 99,
    });
  });

  test('of an empty log is nothing, at its head', async () => {
    const { store, log } = await logOf([]);
    expect(ids(await readNewest(store, await log(), 99, { limit: 20 }))).toMatchObject({
      timeline: [],
      start: 99,
      end: 99,
    });
  });

  test('shows as many events as asked for past hidden ones', async () => {
    const hidden = Array.from({ length: 15 }, () => ({ hidden: true }));
    const { store, log } = await logOf([...plain(20), ...hidden]);
    expect((await readNewest(store, await log(), 134, { limit: 20 })).timeline).toHaveLength(20);
  });
});

test('a closed log is readable up to its closing position and not beyond', async () => {
  const { log } = await logOf(plain(3), true);
  const closed = await log();
  expect(readableHead(closed)).toBe(102);
  expect(readableHead({ ...closed, head: 110 })).toBe(102);
  expect(readableHead({ ...closed, closed: null, head: 110 })).toBe(110);
});
