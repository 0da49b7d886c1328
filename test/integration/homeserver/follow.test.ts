import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NotReadable, type ReadEvent } from '../../../src/homeserver/homeserver.ts';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import { hasValidContentHash } from '../../../src/matrix/hashes.ts';
import { checkPdu } from '../../../src/matrix/pdu.ts';
import {
  type RoomVersionRules,
  roomVersion,
  SUPPORTED_ROOM_VERSIONS,
} from '../../../src/matrix/room-versions.ts';
import { verifyPduSignature } from '../../../src/matrix/signed-json.ts';
import { type MatrixClient, register } from '../../support/client.ts';
import { pdusOf } from '../../support/pdu-list.ts';
import { type HomeserverSite, poll, startHomeserverSite } from './site.ts';

let site: HomeserverSite;
let alice: MatrixClient;

beforeAll(async () => {
  site = await startHomeserverSite();
  alice = await register(site.synapse.url, 'alice');
});
afterAll(() => site?.stop());

/** All that comes after a token, until the stream stands still. */
async function following(roomId: string, from: string): Promise<{ events: ReadEvent[]; end: string }> {
  const events: ReadEvent[] = [];
  let end = from;
  for (;;) {
    const page = await site.homeserver.follow(roomId, end, poll(0));
    events.push(...page.events);
    if (page.end === end) return { events, end };
    end = page.end;
  }
}

async function present(roomId: string): Promise<string> {
  return (await site.homeserver.follow(roomId, null, poll(0))).end;
}

function expectRight(event: ReadEvent, rules: RoomVersionRules, hash = true): void {
  checkPdu(event.pdu, rules);
  expect(eventIdOf(event.pdu, rules)).toBe(event.eventId);
  const { serverName, signingKey } = site.homeserver;
  const signed = verifyPduSignature(event.pdu, rules, serverName, signingKey.keyId, signingKey.publicKey);
  expect(signed).toBe(true);
  expect(hasValidContentHash(event.pdu)).toBe(hash);
  expect(event.pdu).not.toHaveProperty('unsigned');
  if (rules.eventIds !== 'named') expect(event.pdu).not.toHaveProperty('event_id');
}

describe.each(SUPPORTED_ROOM_VERSIONS)('a room of version %s', (version) => {
  const rules = roomVersion(version) as RoomVersionRules;

  it('is followed as PDUs whose ID, content hash and signature are right, redactions and all', async () => {
    const roomId = await alice.createWorldReadableRoom({ room_version: version });
    const from = await present(roomId);
    const text = await alice.sendText(roomId, 'to be redacted while it is under way');
    const kept = await alice.sendText(roomId, 'to stay');
    const topic = await alice.sendState(roomId, 'm.room.topic', { topic: 'one' });
    const topic2 = await alice.sendState(roomId, 'm.room.topic', { topic: 'two' });
    const redaction = await alice.redact(roomId, text);
    const redaction2 = await alice.redact(roomId, redaction);

    const { events } = await following(roomId, from);
    expect(events.map((event) => event.eventId)).toEqual([text, kept, topic, topic2, redaction, redaction2]);
    const byId = new Map(events.map((event) => [event.eventId, event]));
    expect(byId.get(topic2)?.replaces).toBe(topic);
    expect(byId.get(kept)?.replaces).toBeNull();
    for (const event of events) {
      // What is redacted comes pruned, and its content hash fails; of a redaction from version 11 on all is kept.
      const pruned =
        event.eventId === text || (event.eventId === redaction && rules.redactsPlace === 'event');
      expectRight(event, rules, !pruned);
      expect(event.pdu).toEqual(await site.homeserver.event(event.eventId));
    }
    const target = rules.redactsPlace === 'event' ? 'redacts' : 'content.redacts';
    expect(byId.get(redaction2)?.pdu).toHaveProperty(target, redaction);
  });

  it('gives its history newest first, in the same form', async () => {
    const roomId = await alice.createWorldReadableRoom({ room_version: version });
    const sent: string[] = [];
    for (let i = 0; i < 5; i++) sent.unshift(await alice.sendText(roomId, `text ${i}`));
    const redaction = await alice.redact(roomId, sent[2] as string);
    const { events, end } = await site.homeserver.history(roomId, null, 4);
    expect(events.map((event) => event.eventId)).toEqual([redaction, ...sent.slice(0, 3)]);
    for (const event of events) expectRight(event, rules, event.eventId !== sent[2]);
    const older = await site.homeserver.history(roomId, end, 2);
    expect(older.events.map((event) => event.eventId)).toEqual(sent.slice(3));
  });

  it('gives a snapshot whose events are all there, back to the create event', async () => {
    const roomId = await alice.createWorldReadableRoom({ room_version: version });
    await alice.sendState(roomId, 'm.room.power_levels', {
      ...((await site.homeserver.stateEvent(roomId, 'm.room.power_levels', ''))?.content as object),
      invite: 50,
    });
    const latest = await alice.sendState(roomId, 'm.room.topic', { topic: 'newest' });
    const snapshot = await site.homeserver.snapshot(roomId);
    expect(snapshot).toMatchObject({ roomVersion: version, latestId: latest });
    const current = await site.homeserver.currentState(roomId);
    const [state, authChain] = [pdusOf(snapshot.state), pdusOf(snapshot.authChain)];
    const stateIds = state.map((pdu) => eventIdOf(pdu, rules));
    expect(stateIds.toSorted()).toEqual(current.map((event) => String(event.event_id)).toSorted());
    const chain = new Set(authChain.map((pdu) => eventIdOf(pdu, rules)));
    for (const pdu of [...state, ...authChain, snapshot.latest]) {
      const authEvents = pdu.auth_events as (string | [string, object])[];
      for (const item of authEvents) expect(chain).toContain(typeof item === 'string' ? item : item[0]);
    }
    expect(authChain.map((pdu) => pdu.type)).toContain('m.room.create');
    expect([...state, ...authChain].some((pdu) => 'unsigned' in pdu)).toBe(false);
    expect(authChain).toHaveLength(chain.size);
  });
});

describe('following', () => {
  it('gives an event while the poll is held, and the token resumes exactly', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const from = await present(roomId);
    const held = site.homeserver.follow(roomId, from, poll(20_000));
    const first = await alice.sendText(roomId, 'rings');
    const page = await held;
    expect(page.events.map((event) => event.eventId)).toEqual([first]);
    const second = await alice.sendText(roomId, 'missed');
    expect((await following(roomId, page.end)).events.map((event) => event.eventId)).toEqual([second]);
    expect((await following(roomId, from)).events.map((event) => event.eventId)).toEqual([first, second]);
  });

  it('leaves out typing and receipts', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const from = await present(roomId);
    const me = encodeURIComponent(alice.userId);
    const path = `/v3/rooms/${encodeURIComponent(roomId)}`;
    await alice.require('PUT', `${path}/typing/${me}`, { typing: true, timeout: 10_000 });
    const eventId = await alice.sendText(roomId, 'read me');
    await alice.require('POST', `${path}/receipt/m.read/${encodeURIComponent(eventId)}`, {});
    expect((await following(roomId, from)).events.map((event) => event.eventId)).toEqual([eventId]);
  });

  it('ends with NotReadable when the room closes; context then gives the rest, closing event included', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const known = await alice.sendText(roomId, 'known');
    const from = await present(roomId);
    const missed = await alice.sendText(roomId, 'missed');
    const closing = await alice.sendState(roomId, 'm.room.history_visibility', {
      history_visibility: 'joined',
    });
    const hidden = await alice.sendText(roomId, 'hidden');
    await expect(site.homeserver.follow(roomId, from, poll(0))).rejects.toThrow(NotReadable);
    await expect(site.homeserver.history(roomId, null, 10)).rejects.toThrow(NotReadable);
    await expect(site.homeserver.currentState(roomId)).rejects.toThrow(NotReadable);
    const context = await site.homeserver.context(roomId, known, 100);
    expect(context.event.eventId).toBe(known);
    expect(context.after.map((event) => event.eventId)).toEqual([missed, closing]);
    for (const event of context.after) expectRight(event, roomVersion('12') as RoomVersionRules);
    await expect(site.homeserver.context(roomId, hidden, 0)).rejects.toThrow(NotReadable);
    expect(await site.homeserver.visibleEvent(roomId, missed)).toMatchObject({ event_id: missed });
    expect(await site.homeserver.visibleEvent(roomId, hidden)).toBeNull();
    expect(await site.homeserver.membership(roomId)).toBe('resident');
  });

  it('ends with NotReadable when our last user leaves, and membership says absent', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const from = await present(roomId);
    await alice.leave(roomId);
    await expect(site.homeserver.follow(roomId, from, poll(0))).rejects.toThrow(NotReadable);
    expect(await site.homeserver.membership(roomId)).toBe('absent');
  });

  it('refuses a room that was never open', async () => {
    const roomId = await alice.createRoom({ preset: 'private_chat' });
    await expect(site.homeserver.follow(roomId, null, poll(0))).rejects.toThrow(NotReadable);
  });
});
