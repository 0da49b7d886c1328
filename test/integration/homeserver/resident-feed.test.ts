import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { ResidentFeeds } from '../../../src/feeds/resident/resident-feeds.ts';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import { hasValidContentHash } from '../../../src/matrix/hashes.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { pduOf } from '../../../src/rooms/log-entries.ts';
import { openStore } from '../../../src/store/open-store.ts';
import { enc, type MatrixClient, register } from '../../support/client.ts';
import { type ScriptedServer, startScriptedServer } from './scripted-server.ts';
import { type HomeserverSite, startHomeserverSite } from './site.ts';

const RULES = roomVersion('12') as RoomVersionRules;

let site: HomeserverSite;
let alice: MatrixClient;
let other: ScriptedServer;

beforeAll(async () => {
  site = await startHomeserverSite();
  alice = await register(site.synapse.url, 'alice');
  other = await startScriptedServer(site.synapse);
});
afterAll(async () => {
  await other?.stop();
  await site?.stop();
});

/** A room's log on a store in memory, fed by the real homeserver, and what has come into it since. */
async function follow(roomId: string) {
  const logger = pino({ level: 'silent' });
  const store = await openStore({ redisUrl: null, dataDir: ':memory:', clock: systemClock, logger });
  const open = () =>
    new ResidentFeeds({
      store,
      homeserver: site.homeserver,
      clock: systemClock,
      logger,
      metrics: createMetrics(),
      owner: 'this process',
      left: () => {},
    });
  let feeds = open();
  onTestFinished(async () => {
    await feeds.stopAll();
    await store.close();
  });
  const { head } = await feeds.open(roomId);
  const entries = () => store.logs.read(roomId, head, 10_000);
  const ids = async () => (await entries()).map(({ eventId }) => eventId);
  return {
    store,
    entries,
    ids,
    log: () => store.logs.get(roomId),
    /** Resolves when the log holds this event. */
    until: (eventId: string) =>
      vi.waitFor(async () => expect(await ids()).toContain(eventId), { timeout: 15_000, interval: 50 }),
    stop: () => feeds.stopAll(),
    start() {
      feeds = open();
      feeds.follow(roomId);
    },
  };
}

/** The events that authorise what the other server's user sends, as the room stands. */
async function authEvents(roomId: string): Promise<string[]> {
  const state = await site.homeserver.currentState(roomId);
  const wanted = (event: JsonObject) =>
    event.type === 'm.room.power_levels' ||
    (event.type === 'm.room.member' && event.state_key === other.userId);
  return state.filter(wanted).map((event) => String(event.event_id));
}

/** Messages side by side, which is faster; in which order they stand is for the homeserver to say. */
async function sendInLanes(roomId: string, lanes: number, each: number): Promise<void> {
  const lane = async (name: number) => {
    for (let i = 0; i < each; i++) await alice.sendText(roomId, `missed ${name} ${i}`);
  };
  await Promise.all(Array.from({ length: lanes }, (_, name) => lane(name)));
}

/** When the homeserver has taken in what `/send` brought. */
function known(eventId: string) {
  return vi.waitFor(async () => expect(await site.homeserver.event(eventId)).not.toBeNull(), {
    timeout: 10_000,
    interval: 50,
  });
}

describe('what the homeserver has not accepted', () => {
  it('a soft-failed event never enters the log, though an accepted one names it', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const { joinId } = await other.join(roomId);
    const auth = await authEvents(roomId);
    const room = await follow(roomId);
    const path = `/v3/rooms/${enc(roomId)}`;
    await alice.require('POST', `${path}/ban`, { user_id: other.userId });
    const before = { prev_events: [joinId], auth_events: auth, depth: 20 };
    const failed = await other.message(roomId, 'sent before the ban was known', before);
    await known(failed);
    await alice.require('POST', `${path}/unban`, { user_id: other.userId });
    await other.join(roomId);
    const after = { prev_events: [failed], auth_events: await authEvents(roomId), depth: 21 };
    const accepted = await other.message(roomId, 'by a member again', after);
    await room.until(accepted);
    const last = await alice.sendText(roomId, 'the last');
    await room.until(last);
    // The homeserver gives it to servers, and to no client: had it been asked for, it would be known.
    expect(await site.homeserver.event(failed)).not.toBeNull();
    expect(await site.homeserver.visibleEvent(roomId, failed)).toBeNull();
    expect(await room.ids()).not.toContain(failed);
    expect((await room.entries()).map(({ json }) => json).join()).not.toContain('before the ban');
  });

  it('a rejected event never enters the log, though an accepted one names it', async () => {
    const roomId = await alice.createWorldReadableRoom();
    const { joinId } = await other.join(roomId);
    const auth = await authEvents(roomId);
    const room = await follow(roomId);
    const fields = { prev_events: [joinId], auth_events: auth, depth: 20 };
    const rejected = await other.state(roomId, 'm.room.name', { name: 'beyond their power' }, fields);
    await known(rejected);
    const accepted = await other.message(roomId, 'what they may', {
      ...fields,
      prev_events: [rejected],
      depth: 21,
    });
    await room.until(accepted);
    const last = await alice.sendText(roomId, 'the last');
    await room.until(last);
    expect(await site.homeserver.visibleEvent(roomId, rejected)).toBeNull();
    expect(await room.ids()).toEqual([accepted, last]);
  });
});

it('a late fork: an event on an old branch comes when the homeserver has it, once', async () => {
  const roomId = await alice.createWorldReadableRoom();
  const { joinId } = await other.join(roomId);
  const auth = await authEvents(roomId);
  const room = await follow(roomId);
  const sent: string[] = [];
  for (let i = 0; i < 5; i++) sent.push(await alice.sendText(roomId, `trunk ${i}`));
  await room.until(sent.at(-1) ?? '');
  const late = await other.message(roomId, 'branch', { prev_events: [joinId], auth_events: auth, depth: 5 });
  await room.until(late);
  const merge = await alice.sendText(roomId, 'both meet');
  await room.until(merge);
  expect(await room.ids()).toEqual([...sent, late, merge]);
});

it('a type that the homeserver hides from clients is relayed redacted, in the graph’s order, and not shown', async () => {
  const roomId = await alice.createWorldReadableRoom();
  const room = await follow(roomId);
  const hidden = await alice.send(roomId, 'org.matrix.dummy_event', { secret: 'none' });
  const shown = await alice.sendText(roomId, 'after it');
  await room.until(shown);
  expect((await room.entries()).map(({ eventId, shown }) => [eventId, shown])).toEqual([
    [hidden, false],
    [shown, true],
  ]);
  const [entry] = await room.entries();
  expect(entry === undefined ? null : pduOf(entry).content).toEqual({});
});

it('after an outage of ours and a restart of the homeserver every event comes once, in its order, hashes restored', async () => {
  const roomId = await alice.createWorldReadableRoom();
  const room = await follow(roomId);
  const first = await alice.sendText(roomId, 'to be redacted');
  await room.until(first);
  await room.stop();
  await sendInLanes(roomId, 8, 25);
  const redaction = await alice.redact(roomId, first);
  await site.synapse.restart();
  room.start();
  const upgrade = await alice.require('POST', `/v3/rooms/${enc(roomId)}/upgrade`, { new_version: '12' });
  const tombstone = await site.homeserver.stateEvent(roomId, 'm.room.tombstone', '');
  expect(tombstone?.content).toMatchObject({ replacement_room: upgrade.replacement_room });
  await room.until(String(tombstone?.event_id));

  const { events } = await site.homeserver.history(roomId, null, 400);
  const expected = events.map(({ eventId }) => eventId).reverse();
  const told = await room.ids();
  expect(told.length).toBeGreaterThanOrEqual(203);
  expect(told).toEqual(expected.slice(expected.indexOf(first), expected.indexOf(first) + told.length));
  expect(told).toContain(redaction);
  for (const entry of await room.entries()) {
    const pdu = pduOf(entry) as Pdu;
    expect(eventIdOf(pdu, RULES)).toBe(entry.eventId);
    // Of what was redacted the content is gone, and with it the match.
    expect(hasValidContentHash(pdu)).toBe(entry.eventId !== first);
  }
  expect((await room.log())?.closed).toBeNull();
});

it('a room that closes while we are down: what was visible up to the closing event still comes', async () => {
  const roomId = await alice.createWorldReadableRoom();
  const room = await follow(roomId);
  await room.until(await alice.sendText(roomId, 'seen'));
  await room.stop();
  await sendInLanes(roomId, 6, 10);
  const { events } = await site.homeserver.history(roomId, null, 60);
  const missed = events.map(({ eventId }) => eventId).reverse();
  const visibility = { history_visibility: 'shared' };
  const closing = await alice.sendState(roomId, 'm.room.history_visibility', visibility);
  const hidden = await alice.sendText(roomId, 'hidden');
  room.start();
  await room.until(closing);
  expect((await room.ids()).slice(1)).toEqual([...missed, closing]);
  expect(await room.ids()).not.toContain(hidden);
  expect((await room.log())?.closed).toMatchObject({ reason: 'visibility' });
});
