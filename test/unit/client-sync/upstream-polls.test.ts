import { describe, expect, test } from 'vitest';
import { type PollKey, type UpstreamPoll, UpstreamPolls } from '../../../src/client-sync/upstream-polls.ts';
import type { WholeResponse } from '../../../src/forward/raw-forwarder.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const KEY: PollKey = { device: 'alice/PHONE', since: 's1', rest: 'a filter' };
const NEWS = { next_batch: 's2', to_device: { events: [{ type: 'm.room_key' }] } };

/** A poll as the homeserver has it: what it was asked, to be answered by the test. */
interface Begun {
  readonly signal: AbortSignal;
  readonly answer: (body: unknown, status?: number) => Promise<void>;
  readonly fail: () => Promise<void>;
}

function setUp() {
  const clock = new ManualClock();
  const polls = new UpstreamPolls(clock);
  const begun: Begun[] = [];
  const join = (key: PollKey = KEY, patient = true): UpstreamPoll =>
    polls.join(key, patient, (signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<WholeResponse>();
      promise.catch(() => undefined);
      begun.push({
        signal,
        answer: async (body, status = 200) => {
          const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
          resolve({ status, rawHeaders: [], body: bytes });
          await clock.advance(0);
        },
        fail: async () => {
          reject(new Error('the homeserver has gone'));
          await clock.advance(0);
        },
      });
      return promise;
    });
  /** The `n`th poll. */
  const poll = (n: number): Begun => begun[n] as Begun;
  return { clock, polls, begun, join, poll };
}

const bodyOf = (poll: UpstreamPoll) => poll.arrived && JSON.parse(poll.arrived.body.toString());

describe('a lost client', () => {
  test('its poll runs on; the answer waits for the next request that asks the same', async () => {
    const { polls, begun, join, poll } = setUp();
    polls.leave(join());
    await poll(0).answer(NEWS);
    expect(bodyOf(join())).toEqual(NEWS);
    expect(begun).toHaveLength(1);
  });

  test('after 60 s the poll is ended and its answer given up', async () => {
    const { clock, polls, begun, join, poll } = setUp();
    polls.leave(join());
    await clock.advance(59_999);
    expect(poll(0).signal.aborted).toBe(false);
    await clock.advance(1);
    expect(poll(0).signal.aborted).toBe(true);
    polls.leave(join());
    await poll(1).answer(NEWS);
    await clock.advance(60_000);
    join();
    expect(begun).toHaveLength(3);
    expect(clock.pending).toBe(0);
  });

  test('one who comes back in time keeps it running', async () => {
    const { clock, polls, join, poll } = setUp();
    polls.leave(join());
    await clock.advance(59_000);
    join();
    await clock.advance(10 * 60_000);
    expect(poll(0).signal.aborted).toBe(false);
  });

  test('one who goes away while the answer is being written finds it again', async () => {
    const { polls, join, poll } = setUp();
    const asked = join();
    await poll(0).answer(NEWS);
    polls.leave(asked);
    expect(bodyOf(join())).toEqual(NEWS);
  });
});

describe('a retried request', () => {
  test('an answer that was written whole is given again, until another token shows that it has come', async () => {
    const { polls, begun, join, poll } = setUp();
    const asked = join();
    await poll(0).answer(NEWS);
    polls.take(asked);
    for (let retry = 0; retry < 100; retry++) {
      const again = join(KEY, retry % 2 === 0);
      expect(bodyOf(again)).toEqual(NEWS);
      polls.take(again);
    }
    expect(begun).toHaveLength(1);
    polls.leave(join({ ...KEY, since: 's2' }));
    join();
    expect(begun).toHaveLength(3);
  });

  test('after 60 s it is asked for again', async () => {
    const { clock, polls, begun, join, poll } = setUp();
    const asked = join();
    await poll(0).answer(NEWS);
    polls.take(asked);
    await clock.advance(60_000);
    join();
    expect(begun).toHaveLength(2);
  });

  test('an answer without `since`, and one of more than 256 KiB, is kept only while nobody has it', async () => {
    const { polls, begun, join, poll } = setUp();
    const large = Buffer.from(JSON.stringify({ ...NEWS, padding: 'x'.repeat(256 * 1024) }));
    for (const [key, body] of [
      [{ ...KEY, since: null }, NEWS],
      [KEY, large],
    ] as const) {
      const before = begun.length;
      polls.leave(join(key));
      await poll(before).answer(body);
      const got = join(key);
      expect(got.arrived).not.toBeNull();
      polls.take(got);
      polls.leave(join(key));
      expect(begun).toHaveLength(before + 2);
    }
  });
});

describe('what is not kept', () => {
  test('an answer in which there is nothing: its token stands where the request’s stood', async () => {
    const { polls, begun, join, poll } = setUp();
    polls.leave(join());
    await poll(0).answer({ next_batch: 's1', device_one_time_keys_count: { signed_curve25519: 5 } });
    expect(join(KEY, false).arrived).toBeNull();
    expect(begun).toHaveLength(2);
  });

  test('one that is no sync answer, or an error of a homeserver that is restarting', async () => {
    const { polls, begun, join, poll } = setUp();
    for (const [body, status] of [
      [Buffer.from('<html>Bad Gateway</html>'), 502],
      [{ errcode: 'M_UNKNOWN_TOKEN' }, 401],
      [NEWS, 500],
      [Buffer.from('{"next_batch":"s2"'), 200],
    ] as const) {
      const before = begun.length;
      polls.leave(join());
      await poll(before).answer(body, status);
      expect(join().arrived).toBeNull();
      expect(begun).toHaveLength(before + 2);
      await poll(before + 1).fail();
    }
  });

  test('a poll that failed while nobody waited: the next request asks again', async () => {
    const { clock, polls, begun, join, poll } = setUp();
    polls.leave(join());
    await poll(0).fail();
    expect(join().arrived).toBeNull();
    expect(begun).toHaveLength(2);
    expect(clock.pending).toBe(0);
  });

  test('who waits gets the empty answer and the error all the same', async () => {
    const { join, poll } = setUp();
    const [one, two] = [join(), join({ ...KEY, since: 's7' })];
    await poll(0).answer({ next_batch: 's1' });
    await poll(1).answer({}, 429);
    expect((await one.answer).status).toBe(200);
    expect((await two.answer).status).toBe(429);
  });
});

describe('two syncs of one device at once', () => {
  test('share one poll, and both get its answer', async () => {
    const { polls, begun, join, poll } = setUp();
    const [one, two] = [join(), join()];
    await poll(0).answer(NEWS);
    expect(one.arrived).toBe(two.arrived);
    polls.take(one);
    expect(begun).toHaveLength(1);
    polls.leave(two);
    expect(bodyOf(join())).toEqual(NEWS);
  });

  test('one goes: the poll does not end, however long the other waits', async () => {
    const { clock, polls, join, poll } = setUp();
    const [one] = [join(), join()];
    polls.leave(one);
    await clock.advance(10 * 60_000);
    expect(poll(0).signal.aborted).toBe(false);
  });

  test('with timeout=0 beside a poll that waits: it asks for itself, and what it is answered is kept as well', async () => {
    const { polls, begun, join, poll } = setUp();
    polls.leave(join());
    const quick = join(KEY, false);
    expect(begun).toHaveLength(2);
    polls.leave(quick);
    await poll(1).answer({ next_batch: 's1' });
    expect(poll(0).signal.aborted).toBe(false);
    polls.leave(join(KEY, false));
    await poll(2).answer(NEWS);
    expect(bodyOf(join())).toEqual(NEWS);
    expect(poll(0).signal.aborted).toBe(true);
  });

  test('of two polls that ask the same the first answer is that of both: the second may lack what was said once', async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ] as const) {
      const { clock, polls, begun, join, poll } = setUp();
      const both = [join(), join(KEY, false)];
      const [first, second] = order;
      await poll(first).answer({ next_batch: 's2', state: 'with the member' });
      await poll(second).answer({ next_batch: 's2', state: 'without' });
      for (const asked of both) {
        expect(bodyOf(asked)).toEqual({ next_batch: 's2', state: 'with the member' });
        expect((await asked.answer).body).toBe(asked.arrived?.body);
      }
      for (const asked of both) polls.leave(asked);
      const again = join();
      expect(again.arrived).toBe(both[0]?.arrived);
      polls.take(again);
      polls.leave(join({ ...KEY, since: 's2' }));
      join();
      expect(begun).toHaveLength(4);
      expect(clock.pending).toBe(1);
    }
  });

  test('one that is answered with nothing leaves the other waiting', async () => {
    const { join, poll } = setUp();
    const [patient, quick] = [join(), join(KEY, false)];
    await poll(1).answer({ next_batch: 's1' });
    expect(bodyOf(quick)).toEqual({ next_batch: 's1' });
    expect(patient.arrived).toBeNull();
    await poll(0).answer(NEWS);
    expect(bodyOf(patient)).toEqual(NEWS);
    expect(bodyOf(quick)).toEqual({ next_batch: 's1' });
  });

  test('two with tokens of their own do not end each other’s polls', async () => {
    const { polls, begun, join, poll } = setUp();
    polls.leave(join());
    polls.leave(join({ ...KEY, since: 's9' }));
    await poll(0).answer(NEWS);
    expect(bodyOf(join())).toEqual(NEWS);
    expect(poll(1).signal.aborted).toBe(false);
    expect(begun).toHaveLength(2);
  });
});

describe('a changed filter', () => {
  test('asks for itself; the poll with the old one goes on and is found by who goes back to it', async () => {
    const { polls, begun, join, poll } = setUp();
    polls.leave(join());
    polls.leave(join({ ...KEY, rest: 'another filter' }));
    await poll(0).answer(NEWS);
    await poll(1).answer({ next_batch: 's3' });
    expect(bodyOf(join())).toEqual(NEWS);
    expect(bodyOf(join({ ...KEY, rest: 'another filter' }))).toEqual({ next_batch: 's3' });
    expect(begun).toHaveLength(2);
  });

  test('a client with ever other filters leaves four polls behind, and no one else’s end', async () => {
    const { polls, join, poll } = setUp();
    polls.leave(join({ ...KEY, device: 'bob/PHONE' }));
    for (let n = 1; n <= 10; n++) polls.leave(join({ ...KEY, rest: `filter ${n}` }));
    const running = Array.from({ length: 11 }, (_, n) => !poll(n).signal.aborted);
    expect(running).toEqual([true, ...Array(6).fill(false), ...Array(4).fill(true)]);
  });
});

test('64 MiB of answers are kept in all; the oldest give way', async () => {
  const { polls, begun, join, poll } = setUp();
  const key = (n: number) => ({ ...KEY, device: `device ${n}` });
  const body = Buffer.from(JSON.stringify({ ...NEWS, padding: 'x'.repeat(16 * 1024 * 1024) }));
  for (let n = 0; n < 5; n++) {
    polls.leave(join(key(n)));
    await poll(n).answer(body);
  }
  const kept = [0, 1, 2, 3, 4].map((n) => join(key(n)).arrived !== null);
  expect(kept).toEqual([false, false, true, true, true]);
  expect(begun).toHaveLength(7);
});

test('at the end of the process every poll is ended', async () => {
  const { clock, polls, join, poll } = setUp();
  join();
  polls.leave(join({ ...KEY, since: 's9' }));
  polls.close();
  expect([poll(0).signal.aborted, poll(1).signal.aborted]).toEqual([true, true]);
  expect(clock.pending).toBe(0);
});
