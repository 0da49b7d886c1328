import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HomeserverRefusal } from '../../../src/homeserver/homeserver.ts';
import { parseRegistration } from '../../../src/homeserver/registration.ts';
import { enc, type MatrixClient, register } from '../../support/client.ts';
import { type HomeserverSite, startHomeserverSite } from './site.ts';

let site: HomeserverSite;
let alice: MatrixClient;

beforeAll(async () => {
  site = await startHomeserverSite();
  alice = await register(site.synapse.url, 'alice');
});
afterAll(() => site?.stop());

function caller(token: string | null, query = '') {
  const authorization = token === null ? null : `Bearer ${token}`;
  return { authorization, query, userAgent: 'test/1', forwardedFor: '192.0.2.7' };
}

it('whoami: user and device, by header or by query, noted with their address', async () => {
  const alices = { userId: alice.userId, deviceId: alice.deviceId, isGuest: false };
  expect(await site.homeserver.whoami(caller(alice.token))).toEqual(alices);
  const inQuery = caller(null, `since=s1&access_token=${alice.token}&timeout=0`);
  expect(site.homeserver.remembered(inQuery)).toBeNull();
  expect(await site.homeserver.whoami(inQuery)).toEqual(alices);
  expect(site.homeserver.remembered(inQuery)).toEqual(alices);
  const seen = await alice.require('GET', `/v3/admin/whois/${enc(alice.userId)}`);
  expect(JSON.stringify(seen)).toContain('"ip":"192.0.2.7"');
});

it('whoami: a token behind a `;` is one to the homeserver, and so the caller’s here', async () => {
  const inQuery = caller(null, `x;access_token=${alice.token}`);
  expect((await site.homeserver.whoami(inQuery)).userId).toBe(alice.userId);
  const bob = await register(site.synapse.url, 'behind-a-semicolon');
  const other = caller(null, `x;access_token=${bob.token}`);
  expect((await site.homeserver.whoami(other)).userId).toBe(bob.userId);
});

it('whoami: an appservice acts for the user whom its query names, without a device', async () => {
  const { asToken, readerUserId } = parseRegistration(site.registration);
  await site.homeserver.probe();
  const identity = await site.homeserver.whoami(caller(asToken, `user_id=${enc(readerUserId)}`));
  expect(identity).toEqual({ userId: readerUserId, deviceId: '', isGuest: false });
  const stranger = site.homeserver.whoami(caller(asToken, `user_id=${enc(alice.userId)}`));
  await expect(stranger).rejects.toMatchObject({ status: 403 });
});

it('whoami: no token and a bad token give the 401 of the homeserver', async () => {
  for (const [token, errcode] of [
    [null, 'M_MISSING_TOKEN'],
    [randomBytes(8).toString('hex'), 'M_UNKNOWN_TOKEN'],
  ] as const) {
    const error = await site.homeserver.whoami(caller(token)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(HomeserverRefusal);
    const { status, body } = error as HomeserverRefusal;
    expect([status, JSON.parse(body.toString()).errcode]).toEqual([401, errcode]);
  }
});

it('whoami: after a logout that was told, the token is no longer believed', async () => {
  const bob = await register(site.synapse.url, 'bob');
  await site.homeserver.whoami(caller(bob.token));
  await bob.require('POST', '/v3/logout');
  expect(site.homeserver.remembered(caller(bob.token))?.userId).toBe(bob.userId);
  site.homeserver.forget(caller(bob.token));
  await expect(site.homeserver.whoami(caller(bob.token))).rejects.toMatchObject({ status: 401 });
});

it('a stored filter is read as its user', async () => {
  const filter = { room: { timeline: { limit: 3 } } };
  const path = `/v3/user/${enc(alice.userId)}/filter`;
  const { filter_id: filterId } = await alice.require('POST', path, filter);
  const read = () => site.homeserver.filter(caller(alice.token), alice.userId, String(filterId));
  expect(await read()).toEqual(filter);
  expect(await read()).toEqual(filter);
  const unknown = site.homeserver.filter(caller(alice.token), alice.userId, '999');
  await expect(unknown).rejects.toMatchObject({ status: 404 });
});

it('an alias is resolved, and null when there is none', async () => {
  const roomId = await alice.createWorldReadableRoom({ room_alias_name: 'here' });
  const { serverName } = site.synapse;
  expect(await site.homeserver.resolveAlias(`#here:${serverName}`)).toEqual({
    roomId,
    servers: [serverName],
  });
  expect(await site.homeserver.resolveAlias(`#there:${serverName}`)).toBeNull();
  expect(await site.homeserver.resolveAlias('no alias')).toBeNull();
});

it('state and visible events are read as the reader', async () => {
  const roomId = await alice.createWorldReadableRoom({ topic: 'weather' });
  const topic = await site.homeserver.stateEvent(roomId, 'm.room.topic', '');
  expect(topic).toMatchObject({ type: 'm.room.topic', content: { topic: 'weather' } });
  expect(topic).toHaveProperty('event_id');
  expect(await site.homeserver.stateEvent(roomId, 'm.room.tombstone', '')).toBeNull();
  expect(await site.homeserver.visibleEvent(roomId, '$nowhere')).toBeNull();
});

it('probe: the registration is used, and the ninth field of a token takes a long number', async () => {
  expect(await site.homeserver.probe()).toEqual({
    reachable: true,
    problem: null,
    groupsFieldAccepted: true,
    version: expect.stringMatching(/^Synapse \d/),
  });
  expect(site.homeserver.readerReady()).toBe(true);
});

it('a reader that was registered before a restart of the homeserver goes on', async () => {
  const roomId = await alice.createWorldReadableRoom();
  await site.homeserver.currentState(roomId);
  await site.synapse.restart();
  expect(await site.homeserver.currentState(roomId)).not.toEqual([]);
  expect((await site.homeserver.probe()).problem).toBeNull();
});
