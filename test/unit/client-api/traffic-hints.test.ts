import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import { BodyCollector } from '../../../src/client-api/body-collector.ts';
import { PreviewHouse } from '../../support/preview-house.ts';

const ROOM = '!room:there.test';
const CHILD = '!child:there.test';
const CLIENT = '/_matrix/client';

let preview: PreviewHouse;
beforeEach(async () => {
  preview = await PreviewHouse.open();
});

/** What is known of the room when the homeserver has answered this to that. */
async function learnedFrom(
  target: string,
  answer: unknown,
  { status = 200, room = ROOM, gzip = false } = {},
) {
  const text = typeof answer === 'string' ? answer : JSON.stringify(answer);
  preview.script = (_req, res) => {
    res.writeHead(status, {
      'content-type': 'application/json',
      ...(gzip ? { 'content-encoding': 'gzip' } : {}),
    });
    res.end(gzip ? gzipSync(text) : text);
  };
  const got = await preview.get(target);
  expect([got.status, got.text]).toEqual([status, text]);
  await preview.house.settle();
  await preview.house.settle();
  return preview.house.learned.of(room);
}

describe('servers are learned from answers', () => {
  const directory = { room_id: ROOM, servers: ['one.test', 'here.test', 'no server', 'two.test'] };
  const rooms = { chunk: [{ room_id: ROOM }, { room_id: 7 }, null, {}], total_room_count_estimate: 1 };
  const hierarchy = {
    rooms: [
      {
        room_id: ROOM,
        children_state: [
          { type: 'm.space.child', state_key: CHILD, content: { via: ['one.test'] } },
          { type: 'm.space.child', state_key: CHILD, content: { via: 'nobody' } },
          null,
        ],
      },
      null,
    ],
  };
  const encoded = encodeURIComponent(ROOM);

  test.each<[string, string, unknown, string[], string?]>([
    ['of an alias', '/v3/directory/room/%23a%3Athere.test', directory, ['one.test', 'two.test']],
    [
      'of a server’s public rooms',
      '/v3/publicRooms?server=one.test%3A8448&limit=1',
      rooms,
      ['one.test:8448'],
    ],
    ['of our own public rooms', '/v3/publicRooms', rooms, []],
    ['of a summary', `/v1/room_summary/${encoded}?via=one.test`, { room_id: ROOM }, ['one.test']],
    [
      'of an early summary',
      `/unstable/im.nheko.summary/summary/${encoded}?via=one.test&via=two.test`,
      { room_id: ROOM },
      ['one.test', 'two.test'],
    ],
    [
      'of an earlier one',
      `/unstable/im.nheko.summary/rooms/${encoded}/summary?via=one.test`,
      { room_id: ROOM },
      ['one.test'],
    ],
    ['of a space', '/v1/rooms/!space:there.test/hierarchy', hierarchy, ['one.test'], CHILD],
  ])('%s', async (_what, target, answer, servers, room = ROOM) => {
    expect(await learnedFrom(`${CLIENT}${target}`, answer, { room })).toEqual(servers);
  });

  test('that are packed', async () => {
    const learned = await learnedFrom(`${CLIENT}/v3/directory/room/x`, directory, { gzip: true });
    expect(learned).toEqual(['one.test', 'two.test']);
  });

  test.each([
    ['a refusal', directory, 404],
    ['no JSON', 'room_id', 200],
    ['no object', '[]', 200],
    ['lists that are none', { room_id: ROOM, servers: { length: 3 } }, 200],
    ['more than a MiB', { ...directory, more: 'x'.repeat(1024 * 1024) }, 200],
  ])('but not from %s', async (_what, answer, status) => {
    expect(await learnedFrom(`${CLIENT}/v3/directory/room/x`, answer, { status })).toEqual([]);
  });

  test('which pass as they are, in their pieces', async () => {
    const pieces = Array.from({ length: 40 }, (_, i) => Buffer.alloc(5_000, `${i} `));
    preview.script = async (_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      for (const piece of pieces) {
        res.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      res.end();
    };
    const { text } = await preview.get(`${CLIENT}/v3/publicRooms?server=one.test`);
    const sha256 = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex');
    expect(sha256(text)).toBe(sha256(Buffer.concat(pieces)));
  });
});

test('of the answers that pass by no more is held than a bound, and nothing when they have passed', async () => {
  const bodies = new BodyCollector({ mostBytes: 100, mostHeld: 150 });
  const told: string[] = [];
  const begun: ServerResponse[] = [];
  preview.script = (_req, res) => {
    bodies.collect(res, (body) => told.push(body.toString()));
    begun.push(res.writeHead(200));
    res.write(Buffer.alloc(90, String(begun.length)));
  };
  const answers = [preview.get('/x')];
  while (begun.length < 1) await new Promise((resolve) => setImmediate(resolve));
  answers.push(preview.get('/x'));
  while (begun.length < 2) await new Promise((resolve) => setImmediate(resolve));
  expect(bodies.held).toBe(90);
  for (const res of begun) res.end(Buffer.from('end'));
  const ended = `${'1'.repeat(90)}end`;
  expect((await Promise.all(answers)).map(({ text }) => text)).toEqual([ended, ended.replaceAll('1', '2')]);
  while (bodies.held > 0 || told.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual([ended]);
});

describe('servers are learned from requests', () => {
  const post = async (target: string, status: number) => {
    preview.script = (_req, res) => res.writeHead(status).end('{}');
    await preview.get(`${CLIENT}${target}`, 'alice', undefined, 'POST');
    await preview.house.settle();
    return preview.house.learned.of(ROOM);
  };

  test.each([
    ['/v3/join/', '?server_name=one.test&via=two.test', ['two.test', 'one.test']],
    ['/r0/join/', '?server_name=one.test', ['one.test']],
    ['/v3/knock/', '?via=one.test', ['one.test']],
    ['/v3/join/', '', []],
  ])('%s…%s', async (path, query, servers) => {
    expect(await post(`${path}${encodeURIComponent(ROOM)}${query}`, 200)).toEqual(servers);
  });

  test('but a refused one, and a hostile space, stand behind what answers have shown', async () => {
    const via = Array.from({ length: 10 }, (_, i) => `via=evil${i}.test`).join('&');
    await learnedFrom(`${CLIENT}/v3/publicRooms?server=real.test`, { chunk: [{ room_id: ROOM }] });
    const content = { via: ['bad1.test', 'bad2.test', 'bad3.test', 'bad4.test'] };
    const space = { room_id: '!space:bad.test', children_state: [{ state_key: ROOM, content }] };
    await learnedFrom(`${CLIENT}/v1/rooms/!space:bad.test/hierarchy`, { rooms: [space, space] });
    for (const status of [403, 404]) {
      expect(await post(`/v3/join/${encodeURIComponent(ROOM)}?${via}`, status)).toEqual([
        'real.test',
        'bad1.test',
        'bad2.test',
        'bad3.test',
        'evil0.test',
        'evil1.test',
        'evil2.test',
      ]);
    }
  });

  test('whether the homeserver could join or not', async () => {
    expect(await post(`/v3/join/${encodeURIComponent(ROOM)}?via=one.test`, 403)).toEqual(['one.test']);
  });

  test('but not of somebody whom the homeserver does not know', async () => {
    expect(await post(`/v3/join/${encodeURIComponent(ROOM)}?via=one.test`, 401)).toEqual([]);
  });
});
