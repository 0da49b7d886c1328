import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import type { Answer } from '../../support/client.ts';
import { longestTask } from '../../support/longest-task.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import type { Script, ScriptedServer } from '../../support/scripted-server.ts';
import { bytes, REFUSED } from './bad-answers.ts';
import { endings, House, LONGEST_TASK_MS, scriptedServer, WAIT } from './house.ts';

const MIB = 1024 * 1024;

let house: House;
let bad: ScriptedServer;
let rooms = 0;
const { ends, endAll } = endings();
beforeAll(async () => {
  house = await House.start({}, ends);
  bad = await scriptedServer(ends);
});
afterAll(endAll);

/** A server that has just failed is not asked again at once. */
const LATER_MS = 10 * 60_000;
beforeEach(() => house.clock.jump(LATER_MS));

/** A room of the misbehaving server. */
const newRoom = () => new RoomBuilder('10', bad.serverName, `room${++rooms}`);

describe('an answer to PUT /peek', () => {
  test.each(REFUSED)(
    '%s ⇒ refused, named in answer and log, nothing is kept; the neighbour goes on',
    async (_, make, status, why) => {
      const room = newRoom();
      bad.on('PUT', `/peek/${room.roomId}/`, await make(room, bad));
      bad.on('DELETE', `/peek/${room.roomId}/`, {});
      let answer: Answer | undefined;
      const longest = await longestTask(async () => {
        answer = await house.alice.peek(room.roomId, [bad.serverName]);
      });
      expect([answer?.status, answer?.body.errcode]).toEqual([
        status,
        status === 403 ? 'M_FORBIDDEN' : 'M_UNKNOWN',
      ]);
      if (status === 502) expect(answer?.body.error).toContain(bad.serverName);
      expect(answer?.body.error).toMatch(new RegExp(why));
      expect(longest).toBeLessThan(LONGEST_TASK_MS);
      const said = house.said(bad).filter((line) => line.room === room.roomId);
      expect(said.length).toBeGreaterThan(0);
      expect(said.every(({ reason }) => typeof reason === 'string' && reason !== '')).toBe(true);
      expect(said.some(({ reason }) => new RegExp(why).test(reason ?? ''))).toBe(true);
      expect(await house.store.outboundPeeks.ofRoom(room.roomId)).toEqual([]);
      expect(await house.store.logs.get(room.roomId)).toBeNull();
      await house.neighbourGoesOn();
      // It is not held against the room for ever: the next time it is asked again.
      bad.lend(room);
      house.clock.jump(LATER_MS);
      const later = await house.alice.peek(room.roomId, [bad.serverName]);
      expect([200, 403]).toContain(later.status);
      expect(bad.asked('PUT', `/peek/${room.roomId}/`)).toHaveLength(2);
    },
  );

  test('gzip bomb 10 MB → 10 GB ⇒ is not unpacked', async () => {
    const room = newRoom();
    // A file of gzip may be many in a row: 10 MiB that are 10 GiB once they are unpacked.
    const part = gzipSync(Buffer.alloc(MIB, ' '));
    const bomb = Buffer.concat(Array.from({ length: 10_000 }, () => part));
    bad.on('PUT', `/peek/${room.roomId}/`, ({ res }) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bomb);
      return undefined;
    });
    const before = process.memoryUsage().rss;
    expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 502 });
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * MIB);
    await house.neighbourGoesOn();
  });

  test('without end ⇒ no more than 64 MiB of it are read', async () => {
    const room = newRoom();
    let sent = 0;
    let over = false;
    const chunk = Buffer.alloc(MIB, ' ');
    bad.on('PUT', `/peek/${room.roomId}/`, ({ res }) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      const more = () => {
        sent += chunk.length;
        if (!res.destroyed) res.write(chunk, more);
      };
      res.once('close', () => {
        over = true;
      });
      more();
      return undefined;
    });
    let answer: Answer | undefined;
    const longest = await longestTask(async () => {
      answer = await house.alice.peek(room.roomId, [bad.serverName]);
    });
    expect(answer).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    await vi.waitFor(() => expect(over).toBe(true), WAIT);
    expect(sent).toBeGreaterThan(60 * MIB);
    expect(sent).toBeLessThan(80 * MIB);
    expect(longest).toBeLessThan(LONGEST_TASK_MS);
    await house.neighbourGoesOn();
  });

  test('announced as a gigabyte ⇒ not read at all', async () => {
    const room = newRoom();
    bad.on('PUT', `/peek/${room.roomId}/`, ({ res }) => {
      res.writeHead(200, { 'content-length': String(1024 * MIB) });
      res.write('{');
      return undefined;
    });
    expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 502 });
    await house.neighbourGoesOn();
  });

  test.each([
    ['never comes', (): Script => () => new Promise(() => {})],
    [
      'trickles',
      (): Script =>
        ({ res }) => {
          res.writeHead(200);
          const drip = setInterval(() => res.write(' '), 5);
          res.once('close', () => clearInterval(drip));
          return undefined;
        },
    ],
  ])('that %s ⇒ 502 after 45 seconds; the neighbour goes on meanwhile', async (_, script) => {
    const room = newRoom();
    bad.on('PUT', `/peek/${room.roomId}/`, script());
    const asked = house.alice.peek(room.roomId, [bad.serverName]);
    await vi.waitFor(() => expect(bad.asked('PUT', `/peek/${room.roomId}/`)).toHaveLength(1), WAIT);
    await house.neighbourGoesOn();
    await house.clock.advance(45_000);
    expect(await asked).toMatchObject({ status: 502 });
    expect(await house.store.outboundPeeks.ofRoom(room.roomId)).toEqual([]);
    await house.neighbourGoesOn();
  });

  test('a room of version 12 whose ID is not the hash of its create event ⇒ refused', async () => {
    const room = new RoomBuilder('12', bad.serverName, 'asked');
    const other = new RoomBuilder('12', bad.serverName, 'other');
    bad.on('PUT', `/peek/${room.roomId}/`, other.peekAnswer());
    const answer = await house.alice.peek(room.roomId, [bad.serverName]);
    expect(answer).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    bad.on('PUT', `/peek/${room.roomId}/`, room.peekAnswer());
    house.clock.jump(LATER_MS);
    expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
  });

  test('with some events that do not verify ⇒ they alone are left out, each named in the log', async () => {
    const room = newRoom();
    const topic = room.state('m.room.topic', '', { topic: 'unsigned' });
    const name = room.state('m.room.name', '', { name: 'changed' });
    const shown = room.state('m.room.avatar', '', { url: 'mxc://x/y' });
    const replaced = (pdu: JsonObject): JsonObject => {
      if (pdu.type === topic.pdu.type) return { ...pdu, signatures: {} };
      return pdu.type === name.pdu.type ? { ...pdu, content: { name: 'other' } } : pdu;
    };
    const honest = room.peekAnswer();
    const odd = [null, 7, 'x', [], {}, { type: '__proto__', state_key: 'constructor', room_id: room.roomId }];
    const state = [...odd, ...(honest.state as JsonObject[]).map(replaced)];
    bad.on('PUT', `/peek/${room.roomId}/`, {
      ...honest,
      state,
      messages: [...odd, ...(honest.messages as JsonObject[]).map(replaced)],
    });
    expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
    const held = new Map((await house.store.replicas.state(room.roomId)).map((event) => [event.type, event]));
    expect(held.has('m.room.topic')).toBe(false);
    expect(held.get('m.room.avatar')?.eventId).toBe(shown.eventId);
    // A wrong content hash leaves the redacted form.
    expect(JSON.parse(held.get('m.room.name')?.json ?? '{}').content).toEqual({});
    const dropped = house.said(bad).filter(({ msg }) => msg.includes('dropped'));
    expect(dropped.length).toBeGreaterThanOrEqual(odd.length + 1);
    expect(JSON.stringify(house.logs)).not.toContain('unsigned');
    await house.neighbourGoesOn();
  });

  test('with a renewal_interval of 0, below, beyond all bounds, or of another type ⇒ within a minute and an hour', async () => {
    const cases: [Json, number][] = [
      [0, 60_000],
      [-5, 60_000],
      [0.5, 60_000],
      [1e308, 3_600_000],
      ['soon', 3_600_000],
      [null, 3_600_000],
      [{}, 3_600_000],
    ];
    for (const [said, used] of cases) {
      const room = newRoom();
      bad.on('PUT', `/peek/${room.roomId}/`, { ...room.peekAnswer(), renewal_interval: said });
      expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
      const [peek] = await house.store.outboundPeeks.ofRoom(room.roomId);
      expect([said, peek?.renewalIntervalMs]).toEqual([said, used]);
    }
  });

  test('with a state event nested 5 000 deep ⇒ it alone is left out', async () => {
    const room = newRoom();
    const topic = room.state('m.room.topic', '', { topic: 'deep' });
    room.message('after');
    const nested = `${'['.repeat(5000)}${']'.repeat(5000)}`;
    const answer = JSON.stringify(room.peekAnswer()).replaceAll('{"topic":"deep"}', `{"topic":${nested}}`);
    bad.on('PUT', `/peek/${room.roomId}/`, bytes(answer));
    expect(await house.alice.peek(room.roomId, [bad.serverName])).toMatchObject({ status: 200 });
    const held = await house.store.replicas.state(room.roomId);
    expect(held.map(({ eventId }) => eventId)).not.toContain(topic.eventId);
    expect(await house.log(room.roomId)).toContain('after');
  });

  test('of one server that cannot be used ⇒ the next candidate is asked, and peeked through', async () => {
    const other = await scriptedServer();
    const room = other.lend(new RoomBuilder('10', other.serverName));
    bad.on('PUT', `/peek/${room.roomId}/`, bytes('{"state":['));
    expect(await house.alice.peek(room.roomId, [bad.serverName, other.serverName])).toMatchObject({
      status: 200,
    });
    expect(await house.store.outboundPeeks.ofRoom(room.roomId)).toMatchObject([{ server: other.serverName }]);
  });
});
