import { describe, expect, test } from 'vitest';
import { GateLeftError } from '../../../src/platform/gate.ts';
import { ReadPlaces } from '../../../src/room-reads/read-places.ts';
import type { RoomRead } from '../../../src/room-reads/room-read.ts';

function readBy(userId: string, signal = new AbortController().signal): RoomRead {
  return { who: { userId }, signal } as RoomRead;
}

const TOO_MUCH = { status: 429, errcode: 'M_LIMIT_EXCEEDED', fields: { retry_after_ms: expect.any(Number) } };

describe('reads of many state events', () => {
  test('hold one place of a user at a time, and eight in all', async () => {
    const places = new ReadPlaces();
    const order: string[] = [];
    const take = async (userId: string, name = userId) => {
      const free = await places.take(readBy(userId));
      order.push(name);
      return free;
    };
    const first = await take('ann', 'ann 1');
    const second = take('ann', 'ann 2');
    const others = await Promise.all(['b', 'c', 'd', 'e', 'f', 'g', 'h'].map((user) => take(user)));
    const ninth = take('i');
    others[0]?.(0);
    (await ninth)(0);
    first(0);
    (await second)(0);
    expect(order).toEqual(['ann 1', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'ann 2']);
  });

  test('beyond twenty that wait of one user are 429; one whose client goes away leaves the queue', async () => {
    const places = new ReadPlaces();
    const free = await places.take(readBy('ann'));
    const gone = new AbortController();
    const leaving = places.take(readBy('ann', gone.signal));
    const waiting = Array.from({ length: 19 }, () => places.take(readBy('ann')));
    await expect(places.take(readBy('ann'))).rejects.toMatchObject(TOO_MUCH);
    gone.abort();
    await expect(leaving).rejects.toBeInstanceOf(GateLeftError);
    waiting.push(places.take(readBy('ann')));
    free(0);
    for (const next of waiting) (await next)(0);
  });

  test('are 429 for a while when one user has read too many', async () => {
    const places = new ReadPlaces();
    async function* events() {
      for (let i = 0; i < 200_000; i++) yield i;
    }
    for await (const _ of places.counted(readBy('ann'), events()));
    (await places.take(readBy('ann')))(100_000);
    await expect(places.take(readBy('ann'))).rejects.toMatchObject(TOO_MUCH);
    await expect(places.counted(readBy('ann'), events()).next()).rejects.toMatchObject(TOO_MUCH);
    (await places.take(readBy('bob')))(0);
  });

  test('that are streamed run two of a user at a time', async () => {
    const places = new ReadPlaces();
    async function* events() {
      yield 1;
      yield 2;
    }
    const lists = Array.from({ length: 3 }, () => places.counted(readBy('ann'), events()));
    const firsts = lists.map((list) => list.next());
    expect((await Promise.all(firsts.slice(0, 2))).map(({ value }) => value)).toEqual([1, 1]);
    const waits = await Promise.race([firsts[2], new Promise((resolve) => setImmediate(resolve, 'waits'))]);
    expect(waits).toBe('waits');
    await lists[0]?.return(undefined);
    expect(await firsts[2]).toEqual({ done: false, value: 1 });
  });
});
