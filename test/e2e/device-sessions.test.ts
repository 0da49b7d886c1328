import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enc, MatrixClient, passwordOf } from '../support/client.ts';
import { type Pair, startPair } from '../support/federation.ts';
import { type Answer, type Json, send } from '../support/http.ts';
import { workDirectory } from '../support/work.ts';
import { furtherDevice, newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { peekCounts } from './metrics.ts';
import { idsOf, roomsNamed, sectionOf, timelineOf } from './rooms.ts';
import { until } from './until.ts';

/** Of tokens that can be refreshed; the others live on. */
const TOKEN_LIFETIME_MS = 3_000;
const AS_TOKEN = randomBytes(16).toString('hex');
const BRIDGED = `bridged_${randomBytes(4).toString('hex')}`;

let pair: Pair;
let alice: MatrixClient;
/** A device that has read a room before all tests, and then does nothing until the last but one. */
let sleeper: Awaited<ReturnType<typeof following>>;
beforeAll(async () => {
  const appservice = join(workDirectory('appservices'), `${process.pid}.yaml`);
  const namespaces = { users: [{ exclusive: true, regex: '@bridged_.*' }] };
  const tokens = { as_token: AS_TOKEN, hs_token: randomBytes(16).toString('hex') };
  const registration = { id: 'bridge', url: null, sender_localpart: 'bridge', ...tokens, namespaces };
  await writeFile(appservice, JSON.stringify(registration));
  pair = await startPair({
    store: 'sqlite',
    a: { proxyEnv: { PEEK_RATE_LIMIT: '10000/m' } },
    b: {
      proxyEnv: { PEEK_RATE_LIMIT: '10000/m', PEEK_DORMANT_AFTER: '5s' },
      synapse: {
        appservices: [appservice],
        settings: {
          allow_guest_access: true,
          refreshable_access_token_lifetime: TOKEN_LIFETIME_MS,
        },
      },
    },
  });
  alice = await newUser(pair.a, 'alice');
  sleeper = await following(await newUser(pair.b, 'sleeper'));
  await sleeper.follower.step(0);
});
afterAll(() => pair?.stop());

const via = () => [pair.a.serverName];
const devicesPeeks = async () => (await peekCounts(pair.b)).device;

/** A device of site b that peeks a new room of site a and has read it. */
async function following(device: MatrixClient) {
  const roomId = await alice.createWorldReadableRoom();
  const { follower, first } = await startFollowing(device, roomId, via());
  sectionOf(first, 'peek', roomId);
  return { roomId, follower };
}

async function guest(): Promise<MatrixClient> {
  const { url } = pair.b;
  const { body } = await send(url, 'POST', '/_matrix/client/v3/register?kind=guest', { body: {} });
  const [userId, deviceId, token] = [body.user_id, body.device_id, body.access_token].map(String);
  return new MatrixClient(url, { userId: userId ?? '', deviceId: deviceId ?? '', token: token ?? '' });
}

/** What asks for a proof of identity gets it: the password. */
async function proving(client: MatrixClient, method: string, path: string, body: Json = {}): Promise<Answer> {
  const asked = await client.request(method, path, body);
  if (asked.status !== 401) return asked;
  const name = client.userId.slice(1).split(':', 1)[0] ?? '';
  const auth = {
    type: 'm.login.password',
    session: asked.body.session,
    identifier: { type: 'm.id.user', user: client.userId },
    password: passwordOf(name),
  };
  return client.request(method, path, { ...body, auth });
}

describe('CORS preflight for our own endpoints', () => {
  const browsers = ({ headers }: Answer) =>
    Object.fromEntries(
      Object.entries(headers).filter(([name]) => /^(access-control-|cache-control|content-type)/.test(name)),
    );

  it('CORS preflight for our own endpoints ⇒ as the homeserver answers one', async () => {
    for (const path of [
      '/v3/peek/!a:b',
      '/r0/rooms/!a:b/unpeek',
      '/unstable/org.matrix.msc2753/peek/%23a:b',
    ]) {
      const ask = (url: string) => send(url, 'OPTIONS', `/_matrix/client${path}`);
      const [own, ours] = [await ask(pair.b.synapse.url), await ask(pair.b.url)];
      expect([ours.status, browsers(ours)]).toEqual([own.status, browsers(own)]);
      expect(browsers(ours)).toMatchObject({ 'access-control-allow-origin': '*' });
    }
  });

  it('and the answers to POST have the headers of the homeserver’s own, be they 200 or refusals', async () => {
    const bob = await newUser(pair.b, 'bob');
    const room = await alice.createWorldReadableRoom();
    const own = browsers(await bob.request('POST', '/v3/createRoom', {}));
    expect(own).toHaveProperty('access-control-allow-headers');
    for (const answer of [
      await bob.peek(room, via()),
      await bob.unpeek(room),
      await bob.unpeek(room),
      await bob.peek('nonsense'),
      await send(pair.b.url, 'POST', '/_matrix/client/v3/peek/nonsense', { token: 'nobody', body: {} }),
    ]) {
      expect([answer.status, browsers(answer)]).toEqual([answer.status, own]);
    }
  });
});

it('Two devices of one user, two users and a guest: each sees only its own peeks', async () => {
  const bob = await newUser(pair.b, 'bob');
  const devices = [bob, await furtherDevice(bob), await newUser(pair.b, 'carol'), await guest()];
  const all = await Promise.all(devices.map((device) => following(device)));
  for (const { roomId, follower } of all) {
    const message = await alice.sendText(roomId, `for ${follower.client.userId}`);
    await follower.untilEvent(message);
    expect(follower.ids).toEqual([message]);
    const since = follower.since;
    const full = await follower.client.sync({ since, fullState: true });
    expect(roomsNamed(full)).toEqual([roomId]);
  }
});

it('An appservice peeks as the user and device that it acts for', async () => {
  const { url } = pair.b;
  const login = { type: 'm.login.application_service', identifier: { type: 'm.id.user', user: BRIDGED } };
  const asAppservice = (method: string, path: string, body?: Json) =>
    send(url, method, `/_matrix/client${path}`, { token: AS_TOKEN, ...(body && { body }) });
  await asAppservice('POST', '/v3/register', { type: 'm.login.application_service', username: BRIDGED });
  const devices: MatrixClient[] = [];
  for (let i = 0; i < 2; i++) {
    const { body } = await asAppservice('POST', '/v3/login', login);
    const account = { userId: String(body.user_id), deviceId: String(body.device_id) };
    devices.push(new MatrixClient(url, { ...account, token: String(body.access_token) }));
  }
  const [one, other] = devices as [MatrixClient, MatrixClient];
  const roomId = await alice.createWorldReadableRoom();
  const as = ({ userId, deviceId }: MatrixClient) => `user_id=${enc(userId)}&device_id=${enc(deviceId)}`;
  const server = `server_name=${enc(pair.a.serverName)}`;
  const peeked = await asAppservice('POST', `/v3/peek/${enc(roomId)}?${server}&${as(one)}`, {});
  expect(peeked).toMatchObject({ status: 200, body: { room_id: roomId } });
  expect(roomsNamed(await one.sync())).toEqual([roomId]);
  expect(roomsNamed(await other.sync())).toEqual([]);
  const foreign = await asAppservice('POST', `/v3/rooms/${enc(roomId)}/unpeek?${as(other)}`, {});
  expect(foreign).toMatchObject({ status: 400, body: { errcode: 'M_BAD_STATE' } });
  const stranger = await asAppservice('POST', `/v3/peek/${enc(roomId)}?user_id=${enc(alice.userId)}`, {});
  expect(stranger).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
  const own = await asAppservice('POST', `/v3/rooms/${enc(roomId)}/unpeek?${as(one)}`, {});
  expect(own).toMatchObject({ status: 200 });
});

it('A peek outlives its access token: expired and softly logged out, refreshed, logged in again', async () => {
  const { url } = pair.b;
  const bob = await newUser(pair.b, 'bob');
  const name = bob.userId.slice(1).split(':', 1)[0] ?? '';
  const identifier = { type: 'm.id.user', user: name };
  const credentials = { type: 'm.login.password', identifier, password: passwordOf(name) };
  const logIn = async (more: Json) =>
    (await send(url, 'POST', '/_matrix/client/v3/login', { body: { ...credentials, ...more } })).body;
  const { device_id: id, access_token: first, refresh_token: refresh } = await logIn({ refresh_token: true });
  const deviceId = String(id);
  const withToken = (token: unknown) =>
    new MatrixClient(url, { userId: bob.userId, deviceId, token: String(token) });
  const { roomId, follower } = await following(withToken(first));

  const expired = () => withToken(first).request('GET', `/v3/sync?timeout=0&since=${enc(follower.since)}`);
  await until('the token has expired', async () => (await expired()).status === 401);
  expect((await expired()).body).toMatchObject({ errcode: 'M_UNKNOWN_TOKEN', soft_logout: true });

  const { body } = await send(url, 'POST', '/_matrix/client/v3/refresh', {
    body: { refresh_token: refresh },
  });
  const message = await alice.sendText(roomId, 'to the refreshed token');
  const next = await withToken(body.access_token).syncUntil(
    follower.since,
    ({ rooms }) => roomId in rooms.peek,
  );
  expect(idsOf(timelineOf(sectionOf(next, 'peek', roomId)))).toEqual([message]);

  const again = withToken((await logIn({ device_id: deviceId })).access_token);
  const later = await alice.sendText(roomId, 'to the device that has logged in again');
  const last = await again.syncUntil(next.next_batch, ({ rooms }) => roomId in rooms.peek);
  expect(idsOf(timelineOf(sectionOf(last, 'peek', roomId)))).toEqual([later]);
  expect(await again.unpeek(roomId)).toMatchObject({ status: 200 });
});

describe('A peek ends with its device', () => {
  const name = ({ userId }: MatrixClient) => userId.slice(1).split(':', 1)[0] ?? '';
  it.each<[string, (phone: MatrixClient, tablet: MatrixClient) => Promise<Answer>, readonly string[]]>([
    ['/logout', (phone) => phone.request('POST', '/v3/logout', {}), ['phone']],
    ['/logout/all', (phone) => phone.request('POST', '/v3/logout/all', {}), ['phone', 'tablet']],
    [
      'DELETE /devices/{deviceId}',
      (phone, tablet) => proving(phone, 'DELETE', `/v3/devices/${enc(tablet.deviceId)}`),
      ['tablet'],
    ],
    [
      '/delete_devices',
      (phone, tablet) => proving(phone, 'POST', '/v3/delete_devices', { devices: [tablet.deviceId] }),
      ['tablet'],
    ],
    [
      '/account/password, which logs the others out',
      (phone) =>
        proving(phone, 'POST', '/v3/account/password', { new_password: passwordOf(`new ${name(phone)}`) }),
      ['tablet'],
    ],
    [
      '/account/password with logout_devices: false',
      (phone) =>
        proving(phone, 'POST', '/v3/account/password', {
          new_password: passwordOf(`new ${name(phone)}`),
          logout_devices: false,
        }),
      [],
    ],
    ['/account/deactivate', (phone) => proving(phone, 'POST', '/v3/account/deactivate'), ['phone', 'tablet']],
  ])('%s', async (_what, end, gone) => {
    const phone = await newUser(pair.b, 'dave');
    const tablet = await furtherDevice(phone);
    const roomId = await alice.createWorldReadableRoom();
    for (const device of [phone, tablet]) expect((await device.peek(roomId, via())).status).toBe(200);
    const before = await devicesPeeks();
    const { status, text } = await end(phone, tablet);
    expect([status, text.slice(0, 200)]).toEqual([200, expect.anything()]);
    await until('their peeks are gone', async () => (await devicesPeeks()) === before - gone.length);
    for (const [role, device] of [
      ['phone', phone],
      ['tablet', tablet],
    ] as const) {
      if (!gone.includes(role)) expect(roomsNamed(await device.sync())).toEqual([roomId]);
    }
  });
});

it('A device that stops syncing falls asleep, its server is let go, and its next sync restores the room with a gap', async () => {
  const { roomId, follower } = sleeper;
  const through = async () => {
    const { remote_rooms: rooms } = (await pair.b.proxy.health()) as { remote_rooms: { room: string }[] };
    return rooms.some(({ room }) => room === roomId);
  };
  await until('the room is let go', async () => !(await through()), 40_000);
  const { peeks } = (await pair.b.proxy.health()) as { peeks: { dormant: number } };
  expect(peeks.dormant).toBeGreaterThan(0);

  const missed: string[] = [];
  for (let i = 0; i < 60; i++) missed.push(await alice.sendText(roomId, `missed ${i}`));
  await follower.untilEvent(missed.at(-1) ?? '');
  expect(follower.gaps).toBe(1);
  expect(follower.ids).toEqual(missed.slice(-follower.ids.length));
  const next = await alice.sendText(roomId, 'and on');
  await follower.untilEvent(next);
  expect([follower.ids.at(-1), follower.gaps, await through()]).toEqual([next, 1, true]);
});

describe('PEEK_SINCELESS_SYNC', () => {
  /** Two peeks, of which one has been delivered. */
  async function twoPeeks() {
    const bob = await newUser(pair.b, 'bob');
    const { roomId: read, follower } = await following(bob);
    await follower.step(0);
    const fresh = await alice.createWorldReadableRoom();
    expect((await bob.peek(fresh, via())).status).toBe(200);
    return { bob, read, fresh };
  }

  it('all: a sync without since cancels even peeks that were never delivered', async () => {
    await pair.b.proxy.restart({ PEEK_SINCELESS_SYNC: 'all' });
    const { bob } = await twoPeeks();
    expect(roomsNamed(await bob.sync())).toEqual([]);
  });

  it('none: it cancels nothing, and our part is fresh each time, though the homeserver may repeat its own', async () => {
    await pair.b.proxy.restart({ PEEK_SINCELESS_SYNC: 'none' });
    const { bob, read, fresh } = await twoPeeks();
    const first = await bob.sync();
    expect(roomsNamed(first).toSorted()).toEqual([read, fresh].toSorted());
    const message = await alice.sendText(read, 'since then');
    await until('the event has come', async () => {
      const answer = await bob.sync();
      expect(roomsNamed(answer).toSorted()).toEqual([read, fresh].toSorted());
      return idsOf(timelineOf(sectionOf(answer, 'peek', read))).includes(message);
    });
  });
});
