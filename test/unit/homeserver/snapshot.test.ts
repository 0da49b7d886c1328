import { describe, expect, it, test } from 'vitest';
import { RawPdu } from '../../../src/homeserver/raw-pdu.ts';
import { takeSnapshot } from '../../../src/homeserver/snapshot.ts';
import type { SnapshotSource } from '../../../src/homeserver/snapshot-source.ts';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { pdusOf } from '../../support/pdu-list.ts';

const RULES = roomVersion('12') as RoomVersionRules;
let made = 0;

function event(type: string, stateKey: string | null, auth: Pdu[], prev: Pdu[] = []): Pdu {
  return {
    type,
    sender: '@alice:a.test',
    ...(stateKey !== null && { state_key: stateKey }),
    content: { n: ++made },
    depth: made,
    origin_server_ts: made,
    prev_events: prev.map(id),
    auth_events: auth.map(id),
    hashes: { sha256: String(made) },
    signatures: {},
  };
}

function id(pdu: Pdu): string {
  return eventIdOf(pdu, RULES);
}

function raw(pdu: JsonObject): RawPdu {
  const bytes = Buffer.from(JSON.stringify(pdu, null, 1));
  return new RawPdu(bytes, { start: 0, end: bytes.length });
}

interface Room {
  readonly events: Pdu[];
  /** Answers one after the other, the last one again and again. */
  readonly extremities: Pdu[][];
  readonly before: Map<string, { state: Pdu[]; authChain: Pdu[] }>;
  readonly current?: Pdu[];
}

function sourceOf(room: Room) {
  let asked = 0;
  const fetched: string[] = [];
  const source: SnapshotSource = {
    async extremities() {
      const now = room.extremities[Math.min(asked++, room.extremities.length - 1)] ?? [];
      return { roomVersion: '12', eventIds: now.map(id) };
    },
    async eachStateBefore(_, eventId, visit) {
      const before = room.before.get(eventId) ?? { state: [], authChain: [] };
      // With what the homeserver adds, in either place.
      for (const pdu of before.authChain) visit(raw({ ...pdu, unsigned: { age: 1 } }), 'auth_chain');
      for (const pdu of before.state) visit(raw({ unsigned: { age_ts: 1, a: ['}'] }, ...pdu }), 'state');
    },
    async event(eventId) {
      fetched.push(eventId);
      return room.events.find((pdu) => id(pdu) === eventId) ?? null;
    },
    currentState: async () =>
      (room.current ?? []).map((pdu): JsonObject => ({ type: pdu.type, event_id: id(pdu) })),
  };
  return { source, fetched, asked: () => asked };
}

const create = event('m.room.create', '', []);
const alice = event('m.room.member', '@alice:a.test', [], [create]);
const levels = event('m.room.power_levels', '', [alice], [alice]);

describe('a snapshot at one extremity', () => {
  it('that is no state: the state before it', async () => {
    const message = event('m.room.message', null, [levels, alice], [levels]);
    const before = new Map([[id(message), { state: [create, alice, levels], authChain: [alice] }]]);
    const { source } = sourceOf({ events: [message], extremities: [[message]], before });
    const snapshot = await takeSnapshot(source, '!room');
    expect(pdusOf(snapshot.state)).toEqual([create, alice, levels]);
    expect(pdusOf(snapshot.authChain).map(id).toSorted()).toEqual([create, alice, levels].map(id).toSorted());
    expect(snapshot).toMatchObject({ latest: message, latestId: id(message), roomVersion: '12' });
  });

  it('that is state: it takes the place of what was there, which stays in the auth chain', async () => {
    const newer = event('m.room.power_levels', '', [levels, alice], [levels]);
    const before = new Map([[id(newer), { state: [create, alice, levels], authChain: [alice] }]]);
    const { source } = sourceOf({ events: [newer], extremities: [[newer]], before });
    const snapshot = await takeSnapshot(source, '!room');
    expect(pdusOf(snapshot.state)).toHaveLength(3);
    expect(pdusOf(snapshot.state)).toEqual(expect.arrayContaining([create, alice, newer]));
    expect(pdusOf(snapshot.authChain)).toContainEqual(levels);
  });

  it('an auth event that did not come along is fetched; one that is nowhere is left out', async () => {
    const lost = event('m.room.member', '@lost:a.test', []);
    const old = event('m.room.member', '@old:a.test', [alice]);
    const message = event('m.room.message', null, [old, lost], [levels]);
    const before = new Map([[id(message), { state: [create, alice, levels], authChain: [] }]]);
    const { source } = sourceOf({ events: [message, old], extremities: [[message]], before });
    const authChain = pdusOf((await takeSnapshot(source, '!room')).authChain);
    expect(authChain).toContainEqual(old);
    expect(authChain).not.toContainEqual(lost);
  });
});

test('what decides whether the room may be peeked is named, the newest event among it', async () => {
  const open = event('m.room.history_visibility', '', [levels, alice], [levels]);
  const secret = event('m.room.encryption', '', [levels, alice], [open]);
  const before = new Map([[id(secret), { state: [create, alice, levels, open], authChain: [] }]]);
  const { source } = sourceOf({ events: [secret], extremities: [[secret]], before });
  const snapshot = await takeSnapshot(source, '!room');
  expect(snapshot).toMatchObject({ visibility: open, encryption: secret });
});

test('events go out in the bytes that the homeserver gave: what JavaScript would write otherwise stays as it was', async () => {
  const message = event('m.room.message', null, [levels, alice], [levels]);
  const { source } = sourceOf({ events: [message], extremities: [[message]], before: new Map() });
  const odd = '{ "type":"m.odd","state_key":"","content":{"n":1.0,"big":12345678901234567890,"n2":-0}}';
  const bytes = Buffer.from(odd.replace('"type"', '"unsigned":{},"type"'));
  const taken = await takeSnapshot(
    {
      ...source,
      eachStateBefore: async (_room, _event, visit) =>
        visit(new RawPdu(bytes, { start: 0, end: bytes.length }), 'state'),
    },
    '!room',
  );
  expect(Buffer.concat(taken.state.chunks).toString()).toBe(odd);
});

describe('a snapshot at several extremities', () => {
  const name = event('m.room.name', '', [levels, alice], [levels]);
  const topic = event('m.room.topic', '', [levels, alice], [levels]);
  const base = { state: [create, alice, levels], authChain: [alice] };
  const room = {
    events: [name, topic],
    before: new Map([
      [id(name), base],
      [id(topic), base],
    ]),
    current: [create, alice, levels, name, topic],
  };

  it('is what the homeserver resolved; what no branch has before it is fetched', async () => {
    const { source, asked } = sourceOf({ ...room, extremities: [[name, topic]] });
    const snapshot = await takeSnapshot(source, '!room');
    expect(pdusOf(snapshot.state).map(id)).toEqual(room.current.map(id));
    expect(snapshot.latestId).toBe(id(topic));
    expect(asked()).toBe(2);
  });

  it('is read again when the extremities have moved meanwhile', async () => {
    const merge = event('m.room.message', null, [levels, alice], [name, topic]);
    const { source } = sourceOf({
      ...room,
      events: [...room.events, merge],
      before: new Map([...room.before, [id(merge), { state: room.current, authChain: [alice] }]]),
      extremities: [[name, topic], [merge]],
    });
    expect((await takeSnapshot(source, '!room')).latestId).toBe(id(merge));
  });

  it('a room that never stands still gives the last reading', async () => {
    const third = event('m.room.avatar', '', [levels, alice], [levels]);
    const moving = Array.from({ length: 20 }, (_, i) => (i % 2 ? [name, third] : [name, topic]));
    const { source, asked } = sourceOf({ ...room, events: [...room.events, third], extremities: moving });
    expect((await takeSnapshot(source, '!room')).state.count).toBe(5);
    expect(asked()).toBeLessThan(10);
  });
});
