import { afterAll, beforeAll, expect, it } from 'vitest';
import { HomeserverApi, homeserverHttp } from '../../../src/homeserver/homeserver-api.ts';
import { SelfFederation } from '../../../src/homeserver/self-federation.ts';
import { createHomeserver } from '../../../src/homeserver/synapse-homeserver.ts';
import { eventIdOf } from '../../../src/matrix/event-id.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { type RoomVersionRules, roomVersion } from '../../../src/matrix/room-versions.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import type { HttpRequest } from '../../../src/platform/http-client.ts';
import { enc, type MatrixClient, register } from '../../support/client.ts';
import { pdusOf } from '../../support/pdu-list.ts';
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

/** The events that authorise what the other server's user sends. */
async function authEvents(roomId: string): Promise<string[]> {
  const state = await site.homeserver.currentState(roomId);
  const wanted = (event: JsonObject) =>
    event.type === 'm.room.power_levels' ||
    (event.type === 'm.room.member' && event.state_key === other.userId);
  return state.filter(wanted).map((event) => String(event.event_id));
}

it('a room with two forward extremities gives the state that the homeserver resolved', async () => {
  const roomId = await alice.createWorldReadableRoom({
    power_level_content_override: { users_default: 50 },
  });
  const { joinId } = await other.join(roomId);
  const fork = { prev_events: [joinId], auth_events: await authEvents(roomId) };
  const name = await other.state(roomId, 'm.room.name', { name: 'left branch' }, fork);
  const topic = await other.state(roomId, 'm.room.topic', { topic: 'right branch' }, fork);
  // What /send brings is answered first and taken in afterwards.
  await expect
    .poll(async () => (await site.homeserver.extremities(roomId)).eventIds.toSorted(), { timeout: 10_000 })
    .toEqual([name, topic].toSorted());

  const snapshot = await site.homeserver.snapshot(roomId);
  const ids = pdusOf(snapshot.state).map((pdu) => eventIdOf(pdu, RULES));
  expect(ids).toContain(name);
  expect(ids).toContain(topic);
  const current = await site.homeserver.currentState(roomId);
  expect(ids.toSorted()).toEqual(current.map((event) => String(event.event_id)).toSorted());
  expect([name, topic]).toContain(snapshot.latestId);
  expect(eventIdOf(snapshot.latest, RULES)).toBe(snapshot.latestId);

  const joined = await alice.sendText(roomId, 'both branches meet');
  expect((await site.homeserver.extremities(roomId)).eventIds).toEqual([joined]);
});

it("notary: another server's keys, named by key ID", async () => {
  const [keys] = await site.homeserver.notaryKeys(other.serverName, other.keyId, Date.now());
  expect(keys).toMatchObject({ server_name: other.serverName });
  expect(keys?.verify_keys).toHaveProperty([other.keyId]);
  expect(await site.homeserver.notaryKeys('localhost:1', 'ed25519:none', Date.now())).toEqual([]);
});

it('membership: resident, or absent for a room that is not known', async () => {
  const roomId = await alice.createRoom({ preset: 'private_chat' });
  expect(await site.homeserver.membership(roomId)).toBe('resident');
  expect(await site.homeserver.membership(`!unknown:${other.serverName}`)).toBe('absent');
});

it('membership stays resident where the ACL of the room denies our own server', async () => {
  const roomId = await alice.createWorldReadableRoom();
  await alice.sendState(roomId, 'm.room.server_acl', { allow: ['*'], deny: ['localhost'] });
  expect(await site.homeserver.membership(roomId)).toBe('resident');
});

it('extremities are found again when the local user who was asked about has left', async () => {
  const roomId = await alice.createWorldReadableRoom();
  const carol = await register(site.synapse.url, 'carol');
  await site.homeserver.extremities(roomId);
  await carol.join(roomId);
  await alice.leave(roomId);
  const { eventIds, roomVersion: version } = await site.homeserver.extremities(roomId);
  expect(version).toBe('12');
  expect(eventIds).toHaveLength(1);
});

it('30 self-signed reads in a burst, and 150, are never refused by the default federation limits', async () => {
  const { http, close } = homeserverHttp(systemClock);
  const statuses: number[] = [];
  const counted = async (request: HttpRequest) => {
    const answer = await http(request);
    statuses.push(answer.status);
    return answer;
  };
  const self = new SelfFederation({
    api: new HomeserverApi(site.synapse.url, counted, systemClock),
    serverName: site.synapse.serverName,
    signingKey: site.homeserver.signingKey,
    joinedLocalUser: async () => null,
  });
  const roomId = await alice.createWorldReadableRoom();
  const eventId = await alice.sendText(roomId, 'asked for often');
  for (const burst of [30, 150]) {
    const read = await Promise.all(Array.from({ length: burst }, () => self.event(eventId)));
    expect(read.every((pdu) => pdu?.type === 'm.room.message')).toBe(true);
    expect(statuses.splice(0)).toEqual(Array.from({ length: burst }, () => 200));
  }
  await close();
});

it('self-signed requests come back as they are, refusals too', async () => {
  const roomId = await alice.createWorldReadableRoom();
  const eventId = await alice.sendText(roomId, 'hello');
  const path = `/_matrix/federation/v1/get_missing_events/${enc(roomId)}`;
  const body = { limit: 3, earliest_events: [], latest_events: [eventId] };
  const answer = await site.homeserver.selfRequest('POST', path, body);
  expect(answer.status).toBe(200);
  expect(JSON.parse(answer.body.toString()).events).toHaveLength(3);
  expect((await site.homeserver.selfRequest('GET', '/_matrix/federation/v1/nothing')).status).toBe(404);
  expect(await site.homeserver.event('$nowhere')).toBeNull();
});

it('probe: a homeserver whose whitelist lacks its own name', async () => {
  const strict = await startHomeserverSite({ settings: { federation_domain_whitelist: ['a.test'] } });
  try {
    const report = await strict.homeserver.probe();
    expect(report).toMatchObject({ reachable: true, problem: { kind: 'whitelist' } });
  } finally {
    await strict.stop();
  }
});

it('probe: another key, another name, a registration that was not loaded', async () => {
  const { url, serverName } = site.synapse;
  const { signingKeyText, registration } = site;
  const right = { url, serverName, signingKeyText, reader: null, clock: systemClock };
  const kindOf = async (options: Partial<Parameters<typeof createHomeserver>[0]>) => {
    const homeserver = createHomeserver({ ...right, ...options });
    const report = await homeserver.probe();
    await homeserver.close();
    return report.problem?.kind ?? null;
  };
  const seed = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';
  const sameName = site.homeserver.signingKey.keyId.slice('ed25519:'.length);
  expect(await kindOf({ signingKeyText: `ed25519 other ${seed}` })).toBe('wrong-key');
  expect(await kindOf({ signingKeyText: `ed25519 ${sameName} ${seed}` })).toBe('wrong-key');
  expect(await kindOf({ serverName: 'elsewhere.test' })).toBe('wrong-name');
  expect(await kindOf({})).toBe('no-reader');
  const text = registration.replace(/as_token: "\w+"/, 'as_token: "unknown"');
  expect(await kindOf({ reader: { kind: 'registration', text } })).toBe('no-reader');
  expect(await kindOf({ reader: { kind: 'token', token: alice.token } })).toBeNull();
  expect(await kindOf({ url: 'http://127.0.0.1:1' })).toBe('down');
});
