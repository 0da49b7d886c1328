import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { readHealth } from '../../../src/app/health.ts';
import { checkHealth } from '../../../src/app/healthcheck.ts';
import { createOpsApp } from '../../../src/app/ops-server.ts';
import { PeekingSwitch } from '../../../src/app/peeking-switch.ts';
import { HeldSyncs } from '../../../src/client-sync/held-syncs.ts';
import { HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import { StoreDownError } from '../../../src/store/store.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

async function healthy() {
  const house = await PeekingHouse.open();
  const peekingSwitch = new PeekingSwitch();
  peekingSwitch.turnOn();
  const startedAt = house.clock.now();
  const health = () =>
    readHealth({
      ...house,
      peekingSwitch,
      held: new HeldSyncs(),
      readerReady: () => house.homeserver.ready,
      report: async () => ({ reachable: true, problem: null, groupsFieldAccepted: true, version: 'Test 1' }),
      version: '1.2.3',
      startedAt,
    });
  return { house, peekingSwitch, health };
}

/** The ops listener over a socket. */
async function served() {
  const all = await healthy();
  let ready = false;
  const app = createOpsApp({ health: all.health, ready: () => ready, metrics: all.house.metrics });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const port = (server.address() as AddressInfo).port;
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      text: await response.text(),
    };
  };
  const setReady = () => {
    ready = true;
  };
  return { ...all, get, port, setReady };
}

describe('health', () => {
  test('is ok, with its counts, while all works', async () => {
    const { house, health } = await healthy();
    await house.peek(house.resident(new RoomBuilder()).roomId);
    const gone = house.resident(new RoomBuilder('10', PEER, 'gone'));
    await house.peek(gone.roomId);
    await house.peeking.unpeek(ALICE, gone.roomId);
    const remote = house.remoteRoom(new RoomBuilder('10', PEER, 'remote')).roomId;
    await house.peek(remote);
    await house.previewing.begin(ALICE, remote);
    await house.clock.advance(90_000);
    expect(await health()).toEqual({
      status: 'ok',
      version: '1.2.3',
      uptime_seconds: 90,
      homeserver: { reachable: true, version: 'Test 1', peeking: true, reader: true },
      store: { kind: 'sqlite', up: true },
      feeds: { resident: expect.any(Number), remote: 1, troubled: [] },
      peeks: { device: 2, dormant: 0, previews: 1, inbound: 0, outbound: 1 },
      inbound_servers: [],
      remote_rooms: [
        {
          room: '!remote:there.test',
          through: [
            {
              server: PEER,
              heard: '2026-06-01T00:00:00.000Z',
              renewal: '2026-06-01T00:45:00.000Z',
              failing: false,
            },
          ],
        },
      ],
      held_syncs: 0,
    });
    const { text } = await house.metrics.exposition();
    expect(text).toContain('peek_proxy_device_peeks 2');
    expect(text).toContain('peek_proxy_store_up 1');
    expect(text).toContain('peek_proxy_homeserver_up 1');
  });

  test('names the ten servers that peek most rooms here', async () => {
    const { house, health, get } = await served();
    const times = { createdAt: 0, renewedAt: 0, expiresAt: house.clock.now() + 60_000 };
    for (let many = 1; many <= 12; many++) {
      for (let i = 0; i < many; i++) {
        const peek = { server: `s${many}.test`, roomId: `!${i}:here.test`, peekId: `${i}`, ...times };
        await house.store.inboundPeeks.put(peek, 0, 100);
      }
    }
    const { inbound_servers: servers, peeks } = await health();
    expect(peeks.inbound).toBe(78);
    expect(servers.map((one) => one.peeks)).toEqual([12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
    expect(servers[0]).toEqual({ server: 's12.test', peeks: 12 });
    expect((await get('/')).text).toContain('<td>s12.test (12), s11.test (11),');
  });

  test('is degraded without a reader, and says what to set', async () => {
    const { house, health } = await healthy();
    house.homeserver.ready = false;
    const answer = await health();
    expect(answer.status).toBe('degraded');
    expect(answer.homeserver.advice).toContain('PEEK_REGISTRATION_PATH');
  });

  test('names the servers that rooms are peeked through, those that do not answer first', async () => {
    const { house, health, get } = await served();
    for (const server of ['fine.test', 'gone.test', 'good.test']) {
      const room = house.remoteRoom(new RoomBuilder('10', server), server);
      await house.peek(room.roomId, ALICE, [server]);
    }
    house.remote.refuse('gone.test', 'POST', '/renew', 502);
    await house.settle(5 * 60_000);
    await house.outbound.sweep(house.clock.now());
    const { remote_rooms, status } = await health();
    expect(status).toBe('ok');
    expect(
      remote_rooms.map(({ through }) => through.map(({ server, failing }) => [server, failing])),
    ).toEqual([[['gone.test', true]], [['fine.test', false]], [['good.test', false]]]);
    expect((await house.metrics.exposition()).text).toContain('peek_proxy_outbound_failing 1');
    expect((await get('/')).text).toContain('through gone.test (does not answer; heard 2026-06-01T00:00');
  });

  test('says of a room that nobody lets us peek when it is asked for again', async () => {
    const { house, health, get } = await served();
    const room = house.remoteRoom(new RoomBuilder('10', PEER, 'remote'));
    await house.peek(room.roomId);
    for (const method of ['PUT', 'POST', 'GET']) {
      house.remote.refuse(PEER, method, '/peek/', 404, 'M_UNRECOGNIZED');
    }
    await house.settle(5 * 60_000);
    await house.outbound.sweep(house.clock.now());
    expect((await health()).remote_rooms).toMatchObject([
      { through: [{ failing: true, renewal: null, again: '2026-06-01T00:06:00.000Z' }] },
    ]);
    expect((await house.metrics.exposition()).text).toContain('peek_proxy_outbound_failing 1');
    const text = `through ${PEER} (does not let us; asked again at 2026-06-01T00:06:00.000Z; heard 2026-06-01T00:00`;
    expect((await get('/')).text).toContain(text);
  });

  test('is degraded while a feed is in trouble, and names the room', async () => {
    const { house, health } = await healthy();
    const room = house.resident(new RoomBuilder());
    await house.peek(room.roomId);
    house.homeserver.failure = new HomeserverDown('the homeserver answered 502');
    await house.settle();
    const answer = await health();
    expect(answer.status).toBe('degraded');
    expect(answer.feeds.troubled).toEqual([{ roomId: room.roomId, trouble: 'the homeserver answered 502' }]);
    house.homeserver.failure = null;
    await house.settle(60_000);
    room.message('again');
    await house.settle();
    expect((await health()).status).toBe('ok');
  });

  test('is red while peeking is off, and says why and what to do', async () => {
    const { health, peekingSwitch } = await healthy();
    peekingSwitch.turnOff('another key', 'use the homeserver’s');
    expect(await health()).toMatchObject({
      status: 'red',
      homeserver: { peeking: false, problem: 'another key', advice: 'use the homeserver’s' },
    });
  });

  test('is red while the store is down, its counts unknown', async () => {
    const { house, health } = await healthy();
    await house.store.close();
    const answer = await health();
    expect(answer).toMatchObject({
      status: 'red',
      store: { up: false },
      peeks: { device: null, previews: null, inbound: null },
    });
    expect(answer.store.problem).toContain('SQLite');
    expect((await house.metrics.exposition()).text).toContain('peek_proxy_store_up 0');
  });
});

describe('health of a store that can be read and not be written', () => {
  test('is red, has the words of the store, says what to do, and counts what is there', async () => {
    const { house, health } = await healthy();
    await house.peek(house.resident(new RoomBuilder()).roomId);
    const probe = vi.spyOn(house.store, 'probe');
    probe.mockRejectedValue(new StoreDownError('SQLite: database or disk is full'));
    expect(await health()).toMatchObject({
      status: 'red',
      store: {
        up: false,
        problem: 'SQLite: database or disk is full',
        advice: expect.stringContaining('PEEK_DATA_DIR'),
      },
      peeks: { device: 1 },
    });
    expect((await house.metrics.exposition()).text).toContain('peek_proxy_store_up 0');
    probe.mockRestore();
    expect((await health()).store).toEqual({ kind: 'sqlite', up: true });
  });
});

describe('the ops listener', () => {
  test('/health is 200 unless red', async () => {
    const { get, house, peekingSwitch } = await served();
    expect(await get('/health')).toMatchObject({ status: 200 });
    house.homeserver.ready = false;
    expect(JSON.parse((await get('/health')).text)).toMatchObject({ status: 'degraded' });
    expect((await get('/health')).status).toBe(200);
    peekingSwitch.turnOff('<b>off</b>', '');
    expect((await get('/health')).status).toBe(503);
    expect((await get('/')).text).toContain('off: &#60;b&#62;off');
  });

  test('the page shows a problem beside its advice, and peeking that waits while nothing works', async () => {
    const { get, house } = await served();
    expect((await get('/')).text).toContain('<th>Peeking</th><td>on</td>');
    const probe = vi.spyOn(house.store, 'probe');
    probe.mockRejectedValue(new StoreDownError('SQLite: database or disk is full'));
    const { text } = await get('/');
    expect(text).toContain('<th>Problem</th><td>SQLite: database or disk is full</td>');
    expect(text).toMatch(/<th>Advice<\/th><td>The disk of PEEK_DATA_DIR/);
    expect(text).toContain('<th>Peeking</th><td>on, and waits until the problem is gone</td>');
  });

  test('/ready is 503 until the homeserver has been heard', async () => {
    const { get, setReady } = await served();
    expect((await get('/ready')).status).toBe(503);
    setReady();
    expect(await get('/ready')).toMatchObject({ status: 200, text: '{"ready":true}' });
  });

  test('/metrics is fresh, / is for people, the rest is 404 with errcode', async () => {
    const { get } = await served();
    expect((await get('/metrics')).text).toContain('peek_proxy_store_up 1');
    expect(await get('/')).toMatchObject({ status: 200, type: expect.stringContaining('text/html') });
    expect(JSON.parse((await get('/other')).text)).toMatchObject({ errcode: 'M_UNRECOGNIZED' });
  });
});

describe('the command healthcheck', () => {
  const quiet = () => {
    for (const stream of [process.stdout, process.stderr]) {
      const spy = vi.spyOn(stream, 'write').mockReturnValue(true);
      onTestFinished(() => spy.mockRestore());
    }
  };

  test('ends with 0 unless the proxy is red or not there; a wildcard address is asked on loopback', async () => {
    quiet();
    const { port, peekingSwitch } = await served();
    expect(await checkHealth({ host: '127.0.0.1', port })).toBe(0);
    expect(await checkHealth({ host: '0.0.0.0', port })).toBe(0);
    peekingSwitch.turnOff('off', '');
    expect(await checkHealth({ host: '127.0.0.1', port })).toBe(1);
    const nobody = createServer().listen(0, '127.0.0.1');
    await once(nobody, 'listening');
    const free = (nobody.address() as AddressInfo).port;
    nobody.close();
    expect(await checkHealth({ host: '127.0.0.1', port: free })).toBe(1);
  });
});
