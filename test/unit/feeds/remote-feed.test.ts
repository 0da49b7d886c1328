import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { pduOf } from '../../../src/rooms/log-entries.ts';
import type { Append } from '../../../src/store/store.ts';
import { brief, PEER, PeekingHouse, TestDevice } from '../../support/peeking-house.ts';
import { type BuiltEvent, RoomBuilder, signedEvent } from '../../support/room-builder.ts';

async function peeked(version = '10') {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder(version));
  room.message('before');
  await house.peek(room.roomId);
  const { head } = await house.log(room.roomId);
  return { house, room, entries: async () => house.store.logs.read(room.roomId, head, 1000) };
}

const bodies = (entries: readonly { json: string }[]) =>
  entries.map((entry) => (pduOf(entry).content as JsonObject).body);

/** Lets `PEER` give what lies between, as a room that is in a line does, but nothing before its event `lost`. */
function givesMissing(house: PeekingHouse, room: RoomBuilder, most = 20, lost = 0) {
  house.remote.on(PEER, 'POST', `/get_missing_events/${room.roomId}`, ({ body }) => {
    const earliest = body.earliest_events as string[];
    const latest = room.events.findIndex(({ eventId }) => eventId === (body.latest_events as string[])[0]);
    const from = room.events.findLastIndex(({ eventId }) => earliest.includes(eventId)) + 1;
    return { events: room.events.slice(Math.max(from, lost, latest - most), latest).map(({ pdu }) => pdu) };
  });
}

describe('a transaction of the peeked server', () => {
  test.each(['1', '3', '6', '10', '11', '12'])(
    'its events enter the log in their order (version %s)',
    async (version) => {
      const { house, room, entries } = await peeked(version);
      const events = [room.message('one'), room.message('two')];
      expect(await house.ingest(room, events)).toEqual(
        events.map(({ eventId }) => ({ eventId, error: null })),
      );
      expect((await entries()).map(({ eventId }) => eventId)).toEqual(events.map(({ eventId }) => eventId));
    },
  );

  test('duplicates are taken once, in one transaction and across several', async () => {
    const { house, room, entries } = await peeked();
    const event = room.message('once');
    await house.ingest(room, [event, event]);
    await house.ingest(room, [event]);
    expect(bodies(await entries())).toEqual(['once']);
  });

  test.each([1, 25, 49])('50 PDUs of which %s bad ⇒ the rest accepted', async (bad) => {
    const { house, room, entries } = await peeked();
    const events: JsonObject[] = room.messages(50).map(({ pdu }) => pdu);
    for (let i = 0; i < bad; i++) events[i] = { ...events[i], signatures: {} };
    givesMissing(house, room, 0);
    await house.remoteFeed.ingest(room.roomId, PEER, events);
    expect(bodies(await entries()).filter((body) => body !== undefined)).toEqual(
      Array.from({ length: 50 - bad }, (_, i) => `message ${bad + i}`),
    );
  });

  test.each<[string, (room: RoomBuilder) => unknown]>([
    ['missing signature of sender’s server', (room) => ({ ...room.make(message()).pdu, signatures: {} })],
    [
      'a signature of another server',
      (room) => signedEvent(bare(room.make(message()).pdu), room.rules, 'evil.test'),
    ],
    ['a changed event', (room) => ({ ...room.make(message()).pdu, depth: 999 })],
    ['a wrong room', () => new RoomBuilder('10', PEER, 'other').message('elsewhere').pdu],
    ['prev_events 21+', (room) => room.make({ ...message(), prev: Array(21).fill(room.latest.eventId) }).pdu],
    ['auth_events 11+', (room) => withAuth(room, 11)],
    ['10 000 auth_events', (room) => withAuth(room, 10_000)],
    ['depth −1', (room) => room.make({ ...message(), depth: -1 }).pdu],
    ['no object', () => 'an event'],
    ['null', () => null],
  ])('%s ⇒ costs that event and no other', async (_, make) => {
    const { house, room, entries } = await peeked();
    const bad = make(room) as JsonObject;
    const good = room.message('good');
    await house.remoteFeed.ingest(room.roomId, PEER, [bad, good.pdu]);
    expect(bodies(await entries())).toEqual(['good']);
  });

  test('hash mismatch ⇒ redacted, not dropped', async () => {
    const { house, room, entries } = await peeked();
    const event = room.message('real');
    const forged = { ...event.pdu, content: { body: 'forged' } };
    await house.remoteFeed.ingest(room.roomId, PEER, [forged]);
    expect((await entries()).map(({ eventId }) => eventId)).toEqual([event.eventId]);
    expect(bodies(await entries())).toEqual([undefined]);
  });

  test('what `unsigned` says is not kept', async () => {
    const { house, room, entries } = await peeked();
    const { pdu } = room.message('hello');
    await house.remoteFeed.ingest(room.roomId, PEER, [{ ...pdu, unsigned: { membership: 'join' } }]);
    expect(pduOf((await entries())[0] ?? { json: '{}' })).not.toHaveProperty('unsigned');
  });

  test('PDUs are dropped if the room’s ACL denies the origin of the transaction', async () => {
    const { house, room, entries } = await peeked();
    const acl = room.state('m.room.server_acl', '', { allow: ['*'], deny: ['evil.test'] });
    await house.ingest(room, [acl]);
    await house.ingest(room, [room.message('denied')], 'evil.test');
    expect((await entries()).map(({ eventId }) => eventId)).toEqual([acl.eventId]);
  });

  test('of a room that is no longer peeked is taken and forgotten', async () => {
    const { house } = await peeked();
    const other = new RoomBuilder('10', PEER, 'other');
    expect(await house.ingest(other, [other.message('late')])).toEqual([]);
    expect(await house.store.logs.get(other.roomId)).toBeNull();
  });

  test('`__proto__`, `constructor`, `toJSON`, `hasOwnProperty` as type and state_key ⇒ events like any other', async () => {
    const { house, room, entries } = await peeked();
    const names = ['__proto__', 'constructor', 'toJSON', 'hasOwnProperty'];
    const proto = JSON.parse('{"__proto__":{"admin":true},"toJSON":1}') as JsonObject;
    const events = names.flatMap((name) => [
      room.state(name, name, proto),
      room.add({ type: name, content: proto }),
    ]);
    await house.ingest(room, events);
    expect((await entries()).map(({ type }) => type)).toEqual(names.flatMap((name) => [name, name]));
    const device = new TestDevice(house);
    const answer = JSON.parse(JSON.stringify((await device.sync()).peek.get(room.roomId))) as JsonObject;
    expect(brief(answer)?.timeline.slice(-8)).toEqual(
      names.flatMap((name) => [`${name} ${name}=`, `${name}=`]),
    );
  });
});

describe('state', () => {
  test('is replaced in the order of arrival, each event naming the one before', async () => {
    const { house, room, entries } = await peeked();
    const topics = ['a', 'b', 'c'].map((topic) => room.state('m.room.topic', '', { topic }));
    await house.ingest(room, topics);
    expect((await entries()).map(({ replaces }) => replaces)).toEqual([
      null,
      topics[0]?.eventId,
      topics[1]?.eventId,
    ]);
    const [current] = await house.store.replicas.stateOf(room.roomId, [['m.room.topic', '']]);
    expect(current?.eventId).toBe(topics[2]?.eventId);
  });

  test('the closing event ends the log: it is the last to enter, and every peek on the room ends', async () => {
    const { house, room, entries } = await peeked();
    const seen = room.message('seen');
    const closing = room.state('m.room.history_visibility', '', { history_visibility: 'shared' });
    await house.ingest(room, [seen, closing, room.message('unseen')]);
    await house.ingest(room, [room.message('unseen too')]);
    await house.settle();
    expect(bodies(await entries())).toEqual(['seen', undefined]);
    expect((await house.log(room.roomId)).closed).toMatchObject({ reason: 'visibility' });
    expect(await house.store.devicePeeks.ofRoom(room.roomId)).toEqual([]);
    expect(house.remote.sent('DELETE')).toHaveLength(1);
  });

  test('encryption is switched on ⇒ the log ends at that event', async () => {
    const { house, room } = await peeked();
    await house.ingest(room, [room.state('m.room.encryption', '', { algorithm: 'm.megolm' })]);
    expect((await house.log(room.roomId)).closed).toMatchObject({ reason: 'encryption' });
  });
});

describe('a redaction', () => {
  test.each(['10', '11', '12'])(
    'by the target’s server prunes it in the log (version %s)',
    async (version) => {
      const { house, room, entries } = await peeked(version);
      const target = room.message('regretted');
      await house.ingest(room, [target, room.redaction(target.eventId)]);
      expect(bodies(await entries())).toEqual([undefined, undefined]);
    },
  );

  test('prunes current state too', async () => {
    const { house, room } = await peeked();
    const topic = room.state('m.room.topic', '', { topic: 'regretted' });
    await house.ingest(room, [topic, room.redaction(topic.eventId)]);
    const [current] = await house.store.replicas.stateOf(room.roomId, [['m.room.topic', '']]);
    expect(current?.eventId).toBe(topic.eventId);
    expect(JSON.stringify(current)).not.toContain('regretted');
  });

  test('is stored in one step with what it prunes, and so is a gap with the mark that events are missing', async () => {
    const { house, room } = await peeked();
    const target = room.message('regretted');
    await house.ingest(room, [target]);
    const { logs } = house.store;
    const append = logs.append.bind(logs);
    const appended: Append[] = [];
    logs.append = (roomId, what) => {
      appended.push(what);
      return append(roomId, what);
    };
    for (const other of ['prune', 'setFeed'] as const) logs[other] = () => Promise.reject(new Error(other));
    await house.ingest(room, [room.redaction(target.eventId)]);
    expect(appended).toMatchObject([{ amend: [{ eventId: target.eventId }] }]);
    givesMissing(house, room, 0);
    room.message('lost');
    await house.ingest(room, [room.message('after')]);
    expect(appended).toMatchObject([{}, { afterGap: true, needsCatchUp: true }]);
    expect(await house.log(room.roomId)).toMatchObject({ needsCatchUp: true });
  });

  test('and a demotion of its sender in one transaction: what stands before the redaction decides', async () => {
    const { house, room, entries } = await peeked();
    room.member('@mod:else.test', 'join');
    const target = room.message('theirs');
    const levels = (mod: number) => ({ users: { [room.creator]: 100, '@mod:else.test': mod } });
    room.state('m.room.power_levels', '', levels(50));
    room.redaction(target.eventId, '@mod:else.test');
    room.state('m.room.power_levels', '', levels(0));
    await house.ingest(room, room.events.slice(-5));
    expect(bodies(await entries())).not.toContain('theirs');
  });

  test('by somebody of another server without the power changes nothing', async () => {
    const { house, room, entries } = await peeked();
    room.member('@mallory:evil.test', 'join');
    const target = room.message('kept');
    await house.ingest(room, [
      ...room.events.slice(-2),
      room.redaction(target.eventId, '@mallory:evil.test'),
    ]);
    expect(bodies(await entries())).toContain('kept');
  });

  test('by a creator of a version 12 room, who outranks power levels, counts', async () => {
    const { house, room, entries } = await peeked('12');
    room.member('@guest:else.test', 'join');
    const target = room.message('theirs', '@guest:else.test');
    await house.ingest(room, [...room.events.slice(-2), room.redaction(target.eventId)]);
    expect(bodies(await entries())).not.toContain('theirs');
  });
});

describe('unknown prev_events', () => {
  test('⇒ one get_missing_events, and what it gives comes first', async () => {
    const { house, room, entries } = await peeked();
    givesMissing(house, room);
    const [, , last] = [room.message('one'), room.message('two'), room.message('three')];
    await house.ingest(room, [last as BuiltEvent]);
    expect(bodies(await entries())).toEqual(['one', 'two', 'three']);
    expect(house.remote.sent('POST')).toHaveLength(1);
    expect((await house.log(room.roomId)).needsCatchUp).toBe(false);
  });

  test('a missing event that is forged is left out: every path that accepts an event verifies', async () => {
    const { house, room, entries } = await peeked();
    const missing = room.message('missing');
    const last = room.message('last');
    house.remote.on(PEER, 'POST', '/get_missing_events/', {
      events: [{ ...missing.pdu, signatures: {} }, new RoomBuilder('10', PEER, 'other').message('else').pdu],
    });
    await house.ingest(room, [last]);
    expect(bodies(await entries())).toEqual(['last']);
  });

  test.each<[string, number | null]>([
    ['that nobody gives', null],
    ['of which only the newest are given', 3],
  ])(
    'too large a gap (%s) ⇒ limited for a device that had seen everything, and the state is read anew',
    async (_, given) => {
      const { house, room } = await peeked();
      const device = new TestDevice(house);
      await device.sync();
      if (given !== null) givesMissing(house, room, given, room.events.length + 31 - given);
      room.state('m.room.topic', '', { topic: 'in the gap' });
      room.messages(30, 'lost');
      await house.ingest(room, [room.message('after')]);

      const section = brief((await device.sync()).peek.get(room.roomId));
      const kept = given === null ? [] : ['lost 27', 'lost 28', 'lost 29'];
      expect(section).toMatchObject({ limited: true, timeline: [...kept, 'after'] });
      expect(section?.state).toContain('create=');

      await house.sweeps.run();
      expect((await house.log(room.roomId)).needsCatchUp).toBe(false);
      const [topic] = await house.store.replicas.stateOf(room.roomId, [['m.room.topic', '']]);
      expect(topic?.json).toContain('in the gap');
      expect(brief((await device.sync()).peek.get(room.roomId))?.timeline).toContain('topic=in the gap');
      expect((await device.sync()).peek.size).toBe(0);
    },
  );

  test('from before the log began are not a gap', async () => {
    const { house, room, entries } = await peeked();
    const old = room.events[2] as BuiltEvent;
    house.remote.on(PEER, 'POST', '/get_missing_events/', { events: [] });
    room.messages(60);
    await house.ingest(room, room.events.slice(-60));
    await house.store.logs.prune(room.roomId, (await house.log(room.roomId)).head - 40);
    house.remote.on(PEER, 'POST', '/get_missing_events/', { events: [old.pdu] });
    const merge = room.add({
      type: 'm.room.message',
      content: { body: 'merge' },
      prev: [room.latest.eventId, old.eventId],
    });
    const { tail } = await house.log(room.roomId);
    await house.ingest(room, [merge]);
    expect((await house.log(room.roomId)).tail).toBe(tail);
    expect(bodies(await entries()).filter((body) => body === 'merge')).toHaveLength(1);
  });
});

describe('subscribing', () => {
  test('events that arrive while the answer is on its way wait for it', async () => {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    let late: Promise<unknown> = Promise.resolve();
    house.remote.on(PEER, 'PUT', '/peek/', () => {
      const answer = room.peekAnswer();
      late = house.ingest(room, [room.message('meanwhile')]);
      return answer;
    });
    await house.peek(room.roomId);
    await late;
    const { head } = await house.log(room.roomId);
    expect(bodies(await house.store.logs.readLast(room.roomId, head, 1))).toEqual(['meanwhile']);
  });

  test('again, when nothing was missed, changes nothing in the log', async () => {
    const { house, room } = await peeked();
    const before = await house.log(room.roomId);
    const peek = await house.outboundPeek(room.roomId);
    await house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: peek?.peekId ?? '' }]);
    expect(await house.log(room.roomId)).toEqual(before);
  });

  test('again after a long silence: a gap, then the newest events; state that changed is told', async () => {
    const { house, room } = await peeked();
    const device = new TestDevice(house);
    await device.sync();
    room.state('m.room.topic', '', { topic: 'missed' });
    room.messages(100);
    const peek = await house.outboundPeek(room.roomId);
    await house.outbound.expired(PEER, [{ roomId: room.roomId, peekId: peek?.peekId ?? '' }]);
    const section = brief((await device.sync()).peek.get(room.roomId));
    expect(section).toMatchObject({ limited: true });
    expect(section?.timeline.at(-1)).toBe('message 99');
    expect([...(section?.state ?? []), ...(section?.timeline ?? [])]).toContain('topic=missed');
    expect((await device.sync()).peek.size).toBe(0);
  });
});

function message() {
  return { type: 'm.room.message', content: { body: 'bad' } };
}

function withAuth(room: RoomBuilder, count: number): JsonObject {
  const auth = Array.from({ length: count }, () => room.latest.eventId);
  return room.make({ ...message(), more: { auth_events: auth } }).pdu;
}

function bare(pdu: JsonObject): JsonObject {
  const { signatures: _signatures, hashes: _hashes, ...rest } = pdu;
  return rest;
}
