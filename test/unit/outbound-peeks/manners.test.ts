import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { MatrixError } from '../../../src/platform/matrix-error.ts';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { ALICE, HOUR, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { bodies, MINUTE, OTHER, pass, through } from './living.ts';

/** The answer of a Dendrite: no `messages`, the newest event alone, an interval of a thousand hours. */
function dendriteAnswer(room: RoomBuilder): JsonObject {
  const { messages: _, ...answer } = room.peekAnswer();
  return { ...answer, peek_id: room.roomId, renewal_interval: 3_600_000_000 };
}

/** A room of a Dendrite, which gives what came before an event by `backfill`. */
async function dendrite(room = new RoomBuilder()) {
  const house = await PeekingHouse.open();
  house.remote.runs.set(PEER, 'Dendrite');
  house.remote.on(PEER, 'GET', '/version', { server: { name: 'Dendrite', version: '0.15.2' } });
  house.remote.on(PEER, 'PUT', '/peek/', () => dendriteAnswer(room));
  house.remote.on(PEER, 'GET', '/backfill/', () => ({
    origin: PEER,
    // Newest first, the event that was asked for among them, and that whatever its visibility.
    pdus: room.events
      .slice(-20)
      .map(({ pdu }) => pdu)
      .toReversed(),
  }));
  return { house, room };
}

const peekIds = (house: PeekingHouse) => house.remote.sent('PUT').map((sent) => sent.split('/').at(-1));

describe('Dendrite', () => {
  test('gives its newest event alone ⇒ those before it come by backfill, and the timeline has them in order', async () => {
    const { house, room } = await dendrite();
    room.messages(5);
    await house.peek(room.roomId);
    expect(await bodies(house, room)).toEqual([0, 1, 2, 3, 4].map((i) => `message ${i}`));
    expect(house.remote.calls.find(({ path }) => path.includes('/backfill/'))?.path).toBe(
      `/_matrix/federation/v1/backfill/${room.roomId}`,
    );
  });

  test('what others say, which it does not send, is asked for every quarter of an hour, without hole or double', async () => {
    const { house, room } = await dendrite();
    room.messages(2, 'before');
    await house.peek(room.roomId);
    // Asked once more at once: between its answer and its sending it loses what comes.
    await pass(house, 15_000);
    room.messages(3, 'of others');
    await pass(house, 14 * MINUTE);
    expect(await bodies(house, room)).toEqual(['before 0', 'before 1']);
    await pass(house, MINUTE);
    expect(await bodies(house, room)).toEqual([
      'before 0',
      'before 1',
      'of others 0',
      'of others 1',
      'of others 2',
    ]);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: false });
    const { head, tail } = await house.log(room.roomId);
    expect((await house.store.logs.read(room.roomId, tail - 1, 100)).length).toBe(head - tail + 1);
  });

  test('each PUT has a new peek ID, and there is neither renewal nor DELETE', async () => {
    const { house, room } = await dendrite();
    await house.peek(room.roomId);
    await pass(house, HOUR);
    const ids = peekIds(house);
    expect(ids).toHaveLength(5);
    expect(new Set(ids).size).toBe(5);
    expect(await house.store.outboundPeeks.ofRoom(room.roomId)).toMatchObject([{ peekId: ids.at(-1) }]);
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.settle(HOUR);
    expect([house.remote.sent('POST'), house.remote.sent('DELETE')]).toEqual([[], []]);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
  });

  test('known as one, it stays one while it does not say what it is', async () => {
    const { house, room } = await dendrite();
    await house.peek(room.roomId);
    house.remote.runs.delete(PEER);
    await pass(house, 30 * MINUTE);
    expect(new Set(peekIds(house)).size).toBe(3);
    expect(house.remote.sent('POST')).toEqual([]);
  });

  test('unknown as one, its answer gives it away: the peek is named after the room', async () => {
    const { house, room } = await dendrite();
    house.remote.runs.delete(PEER);
    await house.peek(room.roomId);
    await pass(house, 20 * MINUTE);
    expect(house.remote.sent('POST')).toEqual([]);
    expect(new Set(peekIds(house)).size).toBe(peekIds(house).length);
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.settle();
    expect(house.remote.sent('DELETE')).toEqual([]);
  });

  test('nothing new ⇒ no backfill', async () => {
    const { house, room } = await dendrite();
    await house.peek(room.roomId);
    await pass(house, 30 * MINUTE);
    expect(house.remote.sent('GET').filter((sent) => sent.includes('/backfill/'))).toHaveLength(1);
  });

  test('gone ⇒ seen by asking for its version, and left', async () => {
    const { house, room } = await dendrite(new RoomBuilder());
    house.remoteRoom(room, OTHER);
    await house.peek(room.roomId, ALICE, [PEER, OTHER]);
    await pass(house, 15_000);
    for (const method of ['PUT', 'GET']) house.remote.on(PEER, method, '/', new RemoteUnreachable('down'));
    await pass(house, 7 * MINUTE);
    expect(house.remote.sent('GET').some((sent) => sent.endsWith('/version'))).toBe(true);
    expect(await through(house, room)).toEqual([OTHER]);
  });

  test('backfill gives its first event in clear whatever its visibility ⇒ not shown here', async () => {
    const room = new RoomBuilder();
    room.state('m.room.history_visibility', '', { history_visibility: 'joined' });
    room.message('a secret of members');
    room.state('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    const { house } = await dendrite(room);
    room.message('for everybody');
    await house.peek(room.roomId);
    expect(await bodies(house, room)).toEqual(['for everybody']);
  });

  test('backfill that fails, or gives nonsense ⇒ the timeline begins with the newest event', async () => {
    for (const answer of [new RemoteUnreachable('down'), { pdus: 'none' }, { pdus: [null, 7, {}] }]) {
      const { house, room } = await dendrite();
      room.messages(3);
      house.remote.on(PEER, 'GET', '/backfill/', answer);
      await house.peek(room.roomId);
      expect((await bodies(house, room)).at(-1)).toBe('message 2');
    }
  });

  test('an unknown room, which is 500 there ⇒ 502 that says so', async () => {
    const { house, room } = await dendrite();
    house.remote.refuse(PEER, 'PUT', '/peek/', 500, null);
    const error = (await house.peeking.peek(ALICE, room.roomId, []).catch((e: unknown) => e)) as MatrixError;
    expect(error.status).toBe(502);
    expect(error.message).toContain(`${PEER} answered 500`);
  });
});

describe('Palpo', () => {
  test('gives messages and no latest_event ⇒ taken as it is, and the same PUT is the renewal', async () => {
    const house = await PeekingHouse.open();
    const room = new RoomBuilder();
    room.messages(3);
    house.remote.on(PEER, 'PUT', '/peek/', () => {
      const { latest_event: _, peek_id: __, ...answer } = room.peekAnswer();
      return answer;
    });
    house.remote.refuse(PEER, 'POST', '/renew', 404);
    await house.peek(room.roomId);
    expect(await bodies(house, room)).toEqual(['message 0', 'message 1', 'message 2']);
    await pass(house, 50 * MINUTE);
    const ids = peekIds(house);
    expect(ids.length).toBeGreaterThan(1);
    expect(new Set(ids).size).toBe(1);
    expect(house.remote.sent('GET')).toEqual([]);
  });
});

describe('a server that has no PUT, but a snapshot by GET', () => {
  async function snapshots() {
    const house = await PeekingHouse.open();
    const room = new RoomBuilder();
    room.messages(2, 'first');
    house.remote.refuse(PEER, 'PUT', '/peek/', 404, 'M_UNRECOGNIZED');
    house.remote.on(PEER, 'GET', `/peek/${room.roomId}`, () => room.peekAnswer());
    await house.peek(room.roomId);
    return { house, room };
  }

  test('⇒ peeked by asking every five minutes', async () => {
    const { house, room } = await snapshots();
    room.message('second');
    await pass(house, 5 * MINUTE);
    expect(await bodies(house, room)).toEqual(['first 0', 'first 1', 'second']);
    expect(house.remote.sent('GET').filter((sent) => sent.includes('/peek/'))).toHaveLength(2);
  });

  test('⇒ no renewal and no DELETE; when it is over it is forgotten', async () => {
    const { house, room } = await snapshots();
    await pass(house, HOUR);
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.settle();
    expect([house.remote.sent('POST'), house.remote.sent('DELETE')]).toEqual([[], []]);
    expect(await house.store.outboundPeeks.all()).toEqual([]);
  });

  test('⇒ once it can, it is peeked', async () => {
    const { house, room } = await snapshots();
    house.remoteRoom(room);
    await pass(house, 5 * MINUTE);
    expect(await house.outboundPeek(room.roomId)).toMatchObject({ how: 'put', server: PEER });
  });
});

test('a peer that speaks neither ⇒ a polite 502 that names it', async () => {
  const house = await PeekingHouse.open();
  for (const method of ['PUT', 'GET']) house.remote.refuse(PEER, method, '/', 404, 'M_UNRECOGNIZED');
  const error = (await house.peeking
    .peek(ALICE, `!room:${PEER}`, [])
    .catch((e: unknown) => e)) as MatrixError;
  expect(error).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' });
  expect(error.message).toContain(`${PEER}: it cannot be peeked`);
  expect(await house.store.size()).toBe(0);
});
