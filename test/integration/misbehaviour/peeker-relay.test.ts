import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { Reply, type Script } from '../../support/scripted-server.ts';
import { endings, House, peekTarget, scriptedServer, WAIT } from './house.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let house: House;
let rooms = 0;
const { ends, endAll } = endings();
beforeAll(async () => {
  house = await House.start({}, ends);
});
afterAll(endAll);

/** A server that peeks a room of ours, and what it does with what it is sent. */
async function peeker(script: Script) {
  const bad = await scriptedServer();
  const room = new RoomBuilder('10', 'here.test', `room${++rooms}`);
  house.homeserver.add(room);
  const request = { method: 'PUT', target: peekTarget(room.roomId, 'peek'), content: {} } as const;
  expect(await house.as(bad, request)).toMatchObject({ status: 200 });
  const honest = bad.received;
  bad.on('PUT', '/send/', script);
  return {
    bad,
    room,
    /** From now on it takes what it is sent. */
    reform: () =>
      bad.on('PUT', '/send/', ({ body }) => {
        honest.push(...(body.pdus as JsonObject[]));
        return { pdus: {} };
      }),
    says(body: string) {
      room.message(body);
      house.wake();
    },
    got: () => honest.map(({ content }) => (content as JsonObject).body),
    sends: () => bad.asked('PUT', '/send/'),
  };
}

/** Lets time pass in steps, and what falls due be done. */
async function pass(ms: number): Promise<void> {
  const step = 30_000;
  for (let passed = 0; passed < ms; passed += step) {
    await house.clock.advance(Math.min(step, ms - passed));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('a server that peeks us and, sent an event,', () => {
  test.each<[string, Script]>([
    ['never acknowledges', () => new Promise(() => {})],
    [
      'trickles its answer',
      ({ res }) => {
        res.writeHead(200);
        const drip = setInterval(() => res.write(' '), 5);
        res.once('close', () => clearInterval(drip));
        return undefined;
      },
    ],
    ['closes', ({ res }) => void res.destroy()],
    ['answers 200 with garbage', Buffer.from('<html>')],
    ['answers 200 with ten megabytes', Buffer.alloc(10 * 1024 * 1024, ' ')],
    ['refuses', new Reply(403, { errcode: 'M_FORBIDDEN' })],
    ['redirects', new Reply(302, {}, { location: 'http://127.0.0.1:1/' })],
    [
      'answers 429 and names a time of three hundred years',
      new Reply(429, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1e13 }),
    ],
    [
      'answers 429 and names a time that is none',
      new Reply(429, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: '1e999' }),
    ],
  ])(
    '%s ⇒ one transaction at a time, less and less often; the neighbour goes on; later nothing is missing',
    async (_, script) => {
      const { bad, says, reform, got, sends } = await peeker(script);
      says('one');
      await vi.waitFor(() => expect(sends()).toHaveLength(1), WAIT);
      says('two');
      await house.neighbourGoesOn();
      await pass(10 * MINUTE);
      // Again under the same transaction ID, whatever it answers.
      expect(new Set(sends()).size).toBe(1);
      expect(sends().length).toBeLessThan(20);
      await house.neighbourGoesOn();
      const said = house.said(bad).filter(({ msg }) => msg.includes('could not be sent to'));
      expect(said.length).toBeGreaterThan(0);
      expect(JSON.stringify(said)).not.toMatch(/"(one|two)"/);
      reform();
      await pass(20 * MINUTE);
      await vi.waitFor(
        async () => {
          await house.clock.advance(MINUTE);
          // A transaction whose answer did not arrive comes again.
          expect([...new Set(got())]).toEqual(['one', 'two']);
        },
        { timeout: 20_000, interval: 20 },
      );
    },
  );

  test('answers after five minutes ⇒ it is sent again meanwhile, and what it then acknowledges is not', async () => {
    const late: (() => void)[] = [];
    const { bad, says, sends } = await peeker(
      () => new Promise((resolve) => late.push(() => resolve({ pdus: {} }))),
    );
    says('one');
    await vi.waitFor(() => expect(sends()).toHaveLength(1), WAIT);
    await pass(5 * MINUTE);
    expect(sends().length).toBeGreaterThan(1);
    expect(new Set(sends()).size).toBe(1);
    // The one that is open again, if it is, is taken; the others have been given up.
    const before = sends().length;
    bad.on('PUT', '/send/', { pdus: {} });
    for (const answer of late) answer();
    await pass(20 * MINUTE);
    const after = sends().length;
    expect(after).toBeLessThanOrEqual(before + 1);
    await pass(20 * MINUTE);
    expect(sends()).toHaveLength(after);
    expect(new Set(sends()).size).toBe(1);
    await house.neighbourGoesOn();
  });

  test('joins in the middle ⇒ from then on the homeserver sends to it, and we do not', async () => {
    const { bad, room, says, reform, got } = await peeker({ pdus: {} });
    reform();
    says('before');
    await vi.waitFor(() => expect(got()).toContain('before'), WAIT);
    const user = `@mallory:${bad.serverName}`;
    room.member(user, 'join');
    says('after');
    await house.neighbourGoesOn();
    await pass(MINUTE);
    expect(got()).not.toContain('after');
    await house.neighbourGoesOn();
  });

  test('never renews ⇒ evicted after its interval, told so once, and sent nothing more', async () => {
    const { bad, room, says, reform, got } = await peeker({ pdus: {} });
    reform();
    house.clock.jump(HOUR + 2 * MINUTE);
    await house.context.inbound.evict(house.clock.now());
    await pass(MINUTE);
    const told = bad.calls.flatMap(({ body }) => (body.expired_peeks as JsonObject[] | undefined) ?? []);
    expect(told).toEqual([{ room_id: room.roomId, peek_id: 'peek' }]);
    says('after');
    await pass(MINUTE);
    expect(got()).not.toContain('after');
    expect(await house.store.inboundPeeks.ofServer(bad.serverName)).toEqual([]);
  });
});
