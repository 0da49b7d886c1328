import { beforeEach, describe, expect, test, vi } from 'vitest';
import { canonicalJson } from '../../../src/matrix/canonical-json.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, PEER, type PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { type Answer, TapHouse, transaction, WAIT, withEdus } from './tap-house.ts';

let tap: TapHouse;
let house: PeekingHouse;
let room: RoomBuilder;

beforeEach(async () => {
  tap = await TapHouse.open();
  ({ house, room } = tap);
});

/** Work that stands still until it is let go. */
function held() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { wait: () => promise, letGo: resolve };
}

/** The store takes events only when it is let to. */
function holdStore() {
  const { append } = house.store.logs;
  const store = held();
  house.store.logs.append = async (...args) => {
    await store.wait();
    return append.apply(house.store.logs, args);
  };
  return store;
}

const arrived = (count: number) => vi.waitFor(() => expect(tap.forwarded).toHaveLength(count), WAIT);

describe('the transactions of one server are read in the order in which they came', () => {
  test('the answer to a forwarded one does not wait for our reading; the next one, answered here, comes after it', async () => {
    const store = holdStore();
    const first = await tap.send(withEdus([room.message('one').pdu]));
    expect(first.body).toEqual({ pdus: { by: 'homeserver' } });
    let answered = false;
    const next = tap.send(transaction([room.message('two').pdu])).then((answer) => {
      answered = true;
      return answer;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toBe(false);
    store.letGo();
    expect(await next).toMatchObject({ status: 200 });
    expect((await tap.log()).slice(-2)).toEqual(['one', 'two']);
  });

  test('the homeserver is slow: what it holds is read all the same, and what follows is answered here', async () => {
    const homeserver = held();
    tap.homeserver = homeserver.wait;
    const first = tap.send(withEdus([room.message('one').pdu]));
    await arrived(1);
    expect(await tap.send(transaction([room.message('two').pdu]))).toMatchObject({ status: 200 });
    expect((await tap.log()).slice(-2)).toEqual(['one', 'two']);
    homeserver.letGo();
    expect((await first).body).toEqual({ pdus: { by: 'homeserver' } });
  });

  test('a server whose transaction hangs holds up no other', async () => {
    const other = house.remoteRoom(new RoomBuilder('10', 'second.test', 'other'), 'second.test');
    await house.peek(other.roomId, ALICE, ['second.test']);
    tap.homeserver = async ({ body }) => {
      if (body.includes('hangs')) await new Promise(() => {});
    };
    const hung = new AbortController();
    const edus = [{ edu_type: 'hangs' }];
    const first = tap.send(transaction([], { edus }), PEER, { signal: hung.signal }).catch(() => 'closed');
    await arrived(1);
    const answers = [
      await tap.send(transaction([other.message('x').pdu]), 'second.test'),
      await tap.send(withEdus([other.message('y').pdu]), 'second.test'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    hung.abort();
    expect(await first).toBe('closed');
  });

  test('a join that begins while a relay waits for its turn ⇒ that is forwarded too', async () => {
    const store = holdStore();
    await tap.send(withEdus([room.message('one').pdu]));
    const next = tap.send(transaction([room.message('two').pdu]));
    await new Promise((resolve) => setTimeout(resolve, 20));
    house.residency.joining(room.roomId);
    store.letGo();
    expect((await next).body).toEqual({ pdus: { by: 'homeserver' } });
    await vi.waitFor(async () => expect((await tap.log()).slice(-2)).toEqual(['one', 'two']), WAIT);
  });
});

describe('what goes to the homeserver', () => {
  test('goes one after the other', async () => {
    let open = 0;
    let most = 0;
    tap.homeserver = async () => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 5));
      open--;
    };
    await Promise.all([1, 2, 3].map(() => tap.send(withEdus([]))));
    expect([tap.forwarded.length, most]).toEqual([3, 1]);
  });

  test('is given up when the sender closes: while it waits it is never sent, and the next one goes', async () => {
    const homeserver = held();
    tap.homeserver = homeserver.wait;
    const first = tap.send(withEdus([]));
    await arrived(1);
    const gone = new AbortController();
    const second = tap.send(withEdus([]), PEER, { signal: gone.signal }).catch(() => 'closed');
    await new Promise((resolve) => setTimeout(resolve, 20));
    gone.abort();
    expect(await second).toBe('closed');
    await new Promise((resolve) => setTimeout(resolve, 20));
    homeserver.letGo();
    await first;
    await tap.send(withEdus([]));
    expect(tap.forwarded).toHaveLength(2);
  });

  test('and hangs there ends with its sender', async () => {
    let closed = false;
    tap.homeserver = (_, res) =>
      new Promise((resolve) => {
        res.once('close', () => {
          closed = true;
          resolve();
        });
      });
    const gone = new AbortController();
    const first = tap.send(withEdus([]), PEER, { signal: gone.signal }).catch(() => 'closed');
    await arrived(1);
    gone.abort();
    await first;
    await vi.waitFor(() => expect(closed).toBe(true), WAIT);
    tap.homeserver = async () => {};
    expect(await tap.send(withEdus([]))).toMatchObject({ status: 200 });
  });

  test('and finds it down ⇒ its 502 passes; what was peeked is stored once, however often it comes again', async () => {
    tap.homeserver = async (_, res) => void res.destroy();
    const content = withEdus([room.message('one').pdu]);
    expect(await tap.send(content)).toMatchObject({ status: 502, body: { errcode: 'M_UNKNOWN' } });
    tap.homeserver = async () => {};
    expect((await tap.send(content)).body).toEqual({ pdus: { by: 'homeserver' } });
    await vi.waitFor(
      async () => expect((await tap.log()).filter((body) => body === 'one')).toHaveLength(1),
      WAIT,
    );
  });
});

describe('more of one server than may wait', () => {
  const MOST_WAITING = 20;

  test('⇒ 429 with the time to come again, another server is answered; later all are', async () => {
    const other = house.remoteRoom(new RoomBuilder('10', 'second.test', 'other'), 'second.test');
    await house.peek(other.roomId, ALICE, ['second.test']);
    const store = holdStore();
    const relays = Array.from({ length: MOST_WAITING + 5 }, (_, i) =>
      transaction([room.message(`m${i}`).pdu]),
    );
    const answers: Answer[] = [];
    const all = relays.map(async (relay) => answers.push(await tap.send(relay)));
    await vi.waitFor(() => expect(answers).toHaveLength(4), WAIT);
    for (const { status, body } of answers) {
      expect(status).toBe(429);
      expect(body).toMatchObject({ errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 5000 });
    }
    expect(await tap.send(transaction([]), 'second.test')).toMatchObject({ status: 200 });
    store.letGo();
    await Promise.all(all);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(MOST_WAITING + 1);
  });

  test('that the homeserver answers ⇒ it answers them all; the rooms that were not read will catch up', async () => {
    const store = holdStore();
    const sent = Array.from({ length: MOST_WAITING + 5 }, (_, i) => withEdus([room.message(`m${i}`).pdu]));
    const answers = await Promise.all(sent.map((content) => tap.send(content)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect((await house.log(room.roomId)).needsCatchUp).toBe(true);
    store.letGo();
  });
});

describe('sent again', () => {
  test('the same transaction retried, with more PDUs in it ⇒ the new ones are taken, the old ones once', async () => {
    const one = room.message('one').pdu;
    const two = room.message('two').pdu;
    await tap.send(transaction([one]), PEER, { txnId: 'again' });
    expect(await tap.send(transaction([one, two]), PEER, { txnId: 'again' })).toMatchObject({ status: 200 });
    expect((await tap.log()).slice(-2)).toEqual(['one', 'two']);
  });

  test('while the first is still being stored ⇒ once', async () => {
    const store = holdStore();
    const content = transaction([room.message('one').pdu]);
    const both = [tap.send(content, PEER, { txnId: 'again' }), tap.send(content, PEER, { txnId: 'again' })];
    await new Promise((resolve) => setTimeout(resolve, 20));
    store.letGo();
    expect((await Promise.all(both)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await tap.log()).filter((body) => body === 'one')).toHaveLength(1);
  });

  test('by a second server that the room is peeked through ⇒ once', async () => {
    const member = room.member('@resident:second.test', 'join').pdu;
    const one = room.message('one').pdu;
    await tap.send(transaction([member, one]));
    house.remoteRoom(room, 'second.test');
    house.remote.refuse(PEER, 'PUT', '/peek/', 404, 'M_UNRECOGNIZED');
    const peek = await house.outboundPeek(room.roomId);
    await house.store.outboundPeeks.update(room.roomId, peek?.peekId ?? '', { candidates: ['second.test'] });
    await house.store.logs.setFeed(room.roomId, { needsCatchUp: true });
    await house.outbound.sweep(house.clock.now());
    const answer = await tap.send(transaction([one, room.message('two').pdu]), 'second.test');
    expect(answer).toMatchObject({ status: 200 });
    expect((await tap.log()).slice(-2)).toEqual(['one', 'two']);
    expect(tap.forwarded).toEqual([]);
  });

  test('because the store was down ⇒ stored once', async () => {
    const { append } = house.store.logs;
    house.store.logs.append = () => Promise.reject(new StoreDownError('down'));
    const content = transaction([room.message('one').pdu]);
    expect(await tap.send(content)).toMatchObject({ status: 503 });
    house.store.logs.append = append;
    expect(await tap.send(content)).toMatchObject({ status: 200 });
    expect((await tap.log()).filter((body) => body === 'one')).toHaveLength(1);
  });
});

describe('one bad event costs one event', () => {
  test('50 PDUs of which 1/25/49 bad ⇒ the rest accepted', async () => {
    for (const bad of [1, 25, 49]) {
      const pdus = Array.from({ length: 50 }, (_, i) => {
        const { pdu } = room.message(`${bad} ${i}`);
        return i < bad ? { ...pdu, signatures: {} } : pdu;
      });
      expect(await tap.send(transaction(pdus))).toMatchObject({ status: 200 });
      const held = (await tap.log()).filter((body) => String(body).startsWith(`${bad} `));
      expect(held).toEqual(Array.from({ length: 50 - bad }, (_, i) => `${bad} ${i + bad}`));
    }
    expect(tap.forwarded).toEqual([]);
  });

  test('nested 5 000 deep, or with a number that JSON does not keep ⇒ the others of its transaction are taken', async () => {
    for (const [i, odd] of ['['.repeat(5000) + ']'.repeat(5000), '1e400', '"\\ud800"'].entries()) {
      const bad = `{"room_id":"${room.roomId}","type":"m.x","content":${odd}}`;
      const good = room.message(`good ${i}`).pdu;
      const content = canonicalJson({ pdus: [good] }).replace('"pdus":[', `"pdus":[${bad},`);
      expect(await tap.send({}, PEER, { asSent: content })).toMatchObject({ status: 200 });
      expect((await tap.log()).at(-1)).toBe(`good ${i}`);
    }
    expect(tap.forwarded).toEqual([]);
  });

  test('a fault of ours on one room ⇒ 200, so that it does not come for ever; the room will catch up', async () => {
    const { ingest } = house.remoteFeed;
    const other = house.remoteRoom(new RoomBuilder('10', PEER, 'other'));
    await house.peek(other.roomId);
    house.remoteFeed.ingest = (roomId, ...rest) =>
      roomId === other.roomId
        ? Promise.reject(new TypeError('a bug'))
        : ingest.call(house.remoteFeed, roomId, ...rest);
    const answer = await tap.send(transaction([other.message('x').pdu, room.message('one').pdu]));
    expect(answer).toMatchObject({ status: 200 });
    expect((await tap.log()).at(-1)).toBe('one');
    expect((await house.log(other.roomId)).needsCatchUp).toBe(true);
    expect((await house.log(room.roomId)).needsCatchUp).toBe(false);
  });

  test('the room’s ACL denies the origin ⇒ 200, nothing taken', async () => {
    await tap.send(transaction([room.state('m.room.server_acl', '', { allow: ['*'], deny: [PEER] }).pdu]));
    const late = await tap.send(transaction([room.message('late').pdu]));
    expect(late).toEqual({ status: 200, body: { pdus: {} } });
    expect((await tap.log()).at(-1)).toBe('m.room.server_acl');
  });
});
