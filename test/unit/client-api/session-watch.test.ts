import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { SessionWatch } from '../../../src/client-api/session-watch.ts';
import { previewDevice } from '../../../src/device-peeks/preview-devices.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { HomeserverRefusal, type Identity } from '../../../src/homeserver/homeserver.ts';
import { GoneDevices } from '../../../src/peeking/gone-devices.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

const TABLET = { ...ALICE, deviceId: 'TABLET' };
const BOB: Identity = { userId: '@bob:here.test', deviceId: 'PHONE', isGuest: false };
const V3 = '/_matrix/client/v3';

/** Alice's two devices and Bob's peek into one room; the homeserver answers `status` to what ends sessions. */
async function peeking(status = 200) {
  const house = await PeekingHouse.open();
  const room = house.resident(new RoomBuilder());
  for (const who of [ALICE, TABLET, BOB]) await house.peek(room.roomId, who);
  house.homeserver.identities.set('Bearer alice', ALICE);
  const watch = new SessionWatch({
    ...house,
    gone: new GoneDevices(house.store, house.readers),
    anyPeeks: () => house.devicePeeks.anyPeeks,
    trusted: new TrustedProxies(),
  });
  let passed = 0;
  const server = createServer((req, res) => {
    const pass = () => {
      passed++;
      res.writeHead(status).end('{}');
    };
    if (!watch.take(req, res, pass)) res.writeHead(299).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ask = async (method: string, path: string, token = 'alice') => {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${origin}${path}`, { method, headers });
    await answer.text();
    await house.settle();
    return answer.status;
  };
  const peekers = async () =>
    (await house.store.devicePeeks.all()).map(({ userId, deviceId }) => `${userId} ${deviceId}`).toSorted();
  return { house, room, ask, peekers, passed: () => passed };
}

const [A1, A2, B] = ['@alice:here.test PHONE', '@alice:here.test TABLET', '@bob:here.test PHONE'];

describe('a request that ends sessions, when the homeserver agrees', () => {
  test.each([
    ['POST', `${V3}/logout`, [A2, B]],
    ['POST', '/_matrix/client/r0/logout', [A2, B]],
    ['POST', `${V3}/logout/all`, [B]],
    ['POST', `${V3}/account/deactivate`, [B]],
    ['DELETE', `${V3}/devices/TABLET`, [A1, B]],
    ['DELETE', `${V3}/devices/%54ABLET?x`, [A1, B]],
    ['DELETE', `${V3}/devices/NONE`, [A1, A2, B]],
  ])('%s %s ⇒ the peeks of those devices end without a trace', async (method, path, left) => {
    const { ask, peekers, passed } = await peeking();
    expect(await ask(method, path)).toBe(200);
    expect(passed()).toBe(1);
    await vi.waitFor(async () => expect(await peekers()).toEqual(left));
  });

  test.each(['delete_devices', 'account/password'])(
    'POST %s ⇒ the peeks of the devices end that are no longer there',
    async (path) => {
      const { house, ask, peekers } = await peeking();
      house.homeserver.answers.set(`${V3}/devices`, { devices: [{ device_id: 'PHONE' }] });
      await ask('POST', `${V3}/${path}`);
      await vi.waitFor(async () => expect(await peekers()).toEqual([A1, B]));
    },
  );

  test('POST delete_devices of one that leaves all peeking devices there ⇒ nothing ends', async () => {
    const { house, ask, peekers } = await peeking();
    house.homeserver.answers.set(`${V3}/devices`, {
      devices: ['PHONE', 'TABLET'].map((id) => ({ device_id: id })),
    });
    await ask('POST', `${V3}/delete_devices`);
    await house.settle();
    expect(await peekers()).toEqual([A1, A2, B]);
  });

  test('POST delete_devices that names the caller’s own too ⇒ the token is dead, and the caller’s peeks end', async () => {
    const { house, ask, peekers } = await peeking();
    house.homeserver.readAs = async () => ({ status: 401, body: Buffer.from('{}') });
    await ask('POST', `${V3}/delete_devices`);
    await vi.waitFor(async () => expect(await peekers()).toEqual([A2, B]));
  });

  test('an answer about the devices that cannot be used ⇒ nothing ends', async () => {
    const { house, ask, peekers } = await peeking();
    for (const body of ['{}', 'no JSON', '[]', '{"devices":{}}']) {
      house.homeserver.readAs = async () => ({ status: 200, body: Buffer.from(body) });
      await ask('POST', `${V3}/delete_devices`);
      expect(await peekers()).toEqual([A1, A2, B]);
    }
  });

  test('previews and tombstones of the device go too, and the room when nobody is left', async () => {
    const { house, room, ask, peekers } = await peeking();
    await house.devicePeeks.begin(previewDevice(ALICE), room.roomId);
    await house.peeking.unpeek(ALICE, room.roomId);
    await house.peeking.unpeek(BOB, room.roomId);
    await ask('POST', `${V3}/logout`);
    await vi.waitFor(async () => expect(await peekers()).toEqual([A2, B]));
    await ask('POST', `${V3}/logout/all`);
    await vi.waitFor(async () => expect(await peekers()).toEqual([B]));
    await house.settle(2 * 60_000);
    await house.sweeps.run();
    expect(house.residentFeeds.isRunning(room.roomId)).toBe(false);
  });

  test('who is called as a guest or an appservice without a device ⇒ the peeks of the user end with the session', async () => {
    const { house, room, ask, peekers } = await peeking();
    const guest = { userId: '@guest:here.test', deviceId: 'guest_device', isGuest: true };
    await house.peek(room.roomId, guest);
    house.homeserver.identities.set('Bearer guest', guest);
    house.homeserver.answers.set(`${V3}/devices`, { devices: [] });
    await ask('POST', `${V3}/delete_devices`, 'guest');
    expect(await peekers()).toContain('@guest:here.test ');
    await ask('POST', `${V3}/logout`, 'guest');
    await vi.waitFor(async () => expect(await peekers()).toEqual([A1, A2, B]));
  });
});

describe('nothing ends', () => {
  test.each([401, 403, 429, 500])('when the homeserver answers %s', async (status) => {
    const { ask, peekers } = await peeking(status);
    for (const path of ['logout', 'logout/all', 'account/deactivate', 'account/password', 'delete_devices']) {
      expect(await ask('POST', `${V3}/${path}`)).toBe(status);
    }
    expect(await ask('DELETE', `${V3}/devices/PHONE`)).toBe(status);
    expect(await peekers()).toEqual([A1, A2, B]);
  });

  test('by a token of nobody, which the homeserver is asked to refuse itself', async () => {
    const { house, ask, peekers, passed } = await peeking();
    house.homeserver.whoami = () => Promise.reject(new HomeserverRefusal(401, Buffer.from('{}')));
    await ask('POST', `${V3}/logout/all`, 'nobody');
    expect([passed(), await peekers()]).toEqual([1, [A1, A2, B]]);
  });

  test('by other requests: they are not touched', async () => {
    const { ask, passed } = await peeking();
    for (const [method, path] of [
      ['GET', `${V3}/devices/PHONE`],
      ['PUT', `${V3}/devices/PHONE`],
      ['GET', `${V3}/logout`],
      ['POST', `${V3}/logout/all/x`],
      ['POST', `${V3}/devices/PHONE`],
      ['POST', '/_matrix/client/v9/logout'],
    ] as const) {
      expect(await ask(method, path)).toBe(299);
    }
    expect(passed()).toBe(0);
  });
});

test('a homeserver that does not say who is calling holds the request up for 50 ms at most', async () => {
  const { house, ask, peekers } = await peeking();
  let known: (who: Identity) => void = () => {};
  house.homeserver.whoami = () => new Promise((resolve) => (known = resolve));
  const answer = ask('POST', `${V3}/logout`);
  await vi.waitFor(() => expect(house.clock.pending).toBeGreaterThan(0));
  await vi.waitFor(async () => {
    await house.clock.advance(50);
    expect(await Promise.race([answer, null])).toBe(200);
  });
  expect(await peekers()).toEqual([A1, A2, B]);
  known(ALICE);
  await vi.waitFor(async () => expect(await peekers()).toEqual([A2, B]));
});

test('a store that is down ⇒ the request is answered all the same, and the peeks end when their time is over', async () => {
  const { house, ask, peekers } = await peeking();
  const { devices } = house.store.devicePeeks;
  house.store.devicePeeks.devices = () => Promise.reject(new StoreDownError('down'));
  expect(await ask('POST', `${V3}/logout`)).toBe(200);
  house.store.devicePeeks.devices = devices;
  expect(await peekers()).toEqual([A1, A2, B]);
});
