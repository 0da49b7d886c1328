import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { JoinWatch } from '../../../src/client-api/join-watch.ts';
import { answerVersions } from '../../../src/client-api/versions.ts';
import { RawForwarder } from '../../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../../src/forward/upstream.ts';
import { PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';

describe('GET /versions', () => {
  async function versions(status: number, type: string, body: string) {
    const listen = async (handle: (req: IncomingMessage, res: ServerResponse) => void) => {
      const server = createServer(handle).listen(0, '127.0.0.1');
      await once(server, 'listening');
      onTestFinished(() => void server.close());
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    };
    const upstream = createUpstream(
      await listen((_req, res) => {
        if (status === 0) return void res.destroy();
        res.writeHead(status, { 'content-type': type, 'x-kept': 'yes', 'access-control-allow-origin': '*' });
        res.end(body);
      }),
    );
    onTestFinished(() => upstream.destroy());
    const forwarder = new RawForwarder(upstream, new TrustedProxies());
    const origin = await listen((req, res) => void answerVersions(req, res, forwarder));
    const response = await fetch(`${origin}/_matrix/client/versions`);
    return { status: response.status, headers: response.headers, text: await response.text() };
  }

  test('has the homeserver’s answer, and the flags of both MSCs', async () => {
    const answer = await versions(
      200,
      'application/json',
      '{"versions":["v1.11"],"unstable_features":{"org.a":true,"org.matrix.msc2753":false},"server":{"n":1}}',
    );
    expect(JSON.parse(answer.text)).toEqual({
      versions: ['v1.11'],
      unstable_features: { 'org.a': true, 'org.matrix.msc2753': true, 'org.matrix.msc2444': true },
      server: { n: 1 },
    });
    expect(answer.headers.get('x-kept')).toBe('yes');
    expect(answer.headers.get('content-length')).toBe(String(Buffer.byteLength(answer.text)));
  });

  test('without unstable_features makes them', async () => {
    const answer = await versions(200, 'application/json', '{"versions":[]}');
    expect(JSON.parse(answer.text).unstable_features).toEqual({
      'org.matrix.msc2753': true,
      'org.matrix.msc2444': true,
    });
  });

  test.each([
    [200, 'text/html', '<html>'],
    [200, 'application/json', '[1]'],
    [502, 'text/html', '<html>Bad Gateway</html>'],
    [429, 'application/json', '{"errcode":"M_LIMIT_EXCEEDED"}'],
  ])('%s %s %s goes out as it came', async (status, type, body) => {
    expect(await versions(status, type, body)).toMatchObject({ status, text: body });
  });

  test('without a homeserver is 502 with errcode', async () => {
    const answer = await versions(0, '', '');
    expect([answer.status, JSON.parse(answer.text).errcode]).toEqual([502, 'M_UNKNOWN']);
  });
});

describe('a join that passes', () => {
  async function watched() {
    const house = await PeekingHouse.open();
    const room = house.remoteRoom(new RoomBuilder());
    await house.peek(room.roomId);
    const watch = new JoinWatch(house);
    const see = async (url: string, method = 'POST') => {
      const res = Object.assign(new EventEmitter(), { statusCode: 200, writableFinished: false });
      watch.see({ method, url } as IncomingMessage, res as unknown as ServerResponse);
      await house.settle();
      return {
        ends(status: number) {
          res.statusCode = status;
          res.emit('finish');
        },
      };
    };
    return { house, room, see, absent: () => house.residency.isAbsent(room.roomId) };
  }

  test.each([
    ['/_matrix/client/v3/join/ROOM'],
    ['/_matrix/client/r0/join/ROOM?server_name=a.test'],
    ['/_matrix/client/v3/rooms/ROOM/join'],
    ['/_matrix/client/unstable/rooms/ROOM/join'],
  ])('takes the room’s transactions to the homeserver from its request on: %s', async (url) => {
    const { room, see, absent } = await watched();
    expect(await absent()).toBe(true);
    const join = await see(url.replace('ROOM', encodeURIComponent(room.roomId)));
    expect(await absent()).toBe(false);
    join.ends(200);
    expect(await absent()).toBe(false);
  });

  test('until it has failed', async () => {
    const { room, see, absent } = await watched();
    const join = await see(`/_matrix/client/v3/join/${room.roomId}`);
    join.ends(403);
    expect(await absent()).toBe(true);
  });

  test('and is not undone by the refusal of another request', async () => {
    const { room, see, absent } = await watched();
    const join = await see(`/_matrix/client/v3/join/${room.roomId}`);
    (await see(`/_matrix/client/v3/join/${room.roomId}`)).ends(401);
    expect(await absent()).toBe(false);
    join.ends(200);
    (await see(`/_matrix/client/v3/rooms/${room.roomId}/join`)).ends(401);
    expect(await absent()).toBe(false);
  });

  test('by alias too, when it has succeeded; the alias of a refused one is not looked up', async () => {
    const { house, room, see, absent } = await watched();
    house.homeserver.aliases.set('#a:there.test', { roomId: room.roomId, servers: [] });
    const url = '/_matrix/client/v3/join/%23a%3Athere.test';
    (await see(url)).ends(401);
    await house.settle();
    expect(house.homeserver.calls).not.toContain('resolveAlias');
    expect(await absent()).toBe(true);
    (await see(url)).ends(200);
    await house.settle();
    expect(await absent()).toBe(false);
  });

  test('and has succeeded hands the room over to the homeserver at once', async () => {
    const { house, room, see } = await watched();
    const join = await see(`/_matrix/client/v3/join/${room.roomId}`);
    house.resident(room);
    room.member('@alice:here.test', 'join');
    await house.settle();
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'remote' });
    join.ends(200);
    await house.settle();
    expect(await house.log(room.roomId)).toMatchObject({ feed: 'resident' });
  });

  test.each([
    ['/_matrix/client/v3/rooms/ROOM/leave', 'POST'],
    ['/_matrix/client/v3/join/ROOM', 'GET'],
    ['/_matrix/client/v3/join/!other:there.test', 'POST'],
    ['/_matrix/client/v3/join/%zz', 'POST'],
    ['/_matrix/client/v3/join/%23none%3Athere.test', 'POST'],
  ])('other requests change nothing: %s %s', async (url, method) => {
    const { room, see, absent } = await watched();
    await see(url.replace('ROOM', room.roomId), method);
    expect(await absent()).toBe(true);
  });
});
