import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { HeldAnswers, type HeldLimits } from '../../../src/client-sync/held-answers.ts';
import { withNextBatch } from '../../../src/client-sync/streamed-answer.ts';
import { unwrapToken } from '../../../src/client-sync/sync-token.ts';
import type { UpstreamResponse } from '../../../src/forward/fetched-exchange.ts';
import { brief } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { SyncHouse } from '../../support/sync-house.ts';

const TOKEN = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const LATER = 's45_17_4_3_2_1_1_3_0_1_1_1_1_1';
const LARGE = { events: [{ type: 'm.large', content: { body: 'é'.repeat(300_000) } }] };

/** Alice peeks into a room, and has its first section; what the homeserver says from then on is large. */
async function followed(limits: Partial<HeldLimits>) {
  const sync = await SyncHouse.open({}, limits);
  const room = sync.house.resident(new RoomBuilder());
  await sync.house.peek(room.roomId);
  sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const since = (await sync.sync()).body.next_batch;
  sync.script = ({ answer }) => answer({ next_batch: LATER, account_data: LARGE });
  sync.asked.length = 0;
  room.message('new');
  await sync.house.settle();
  const news = (answer: Awaited<ReturnType<SyncHouse['sync']>>) =>
    brief(answer.body.rooms?.peek?.[room.roomId])?.timeline;
  return { sync, room, since, news };
}

describe('what is held of the homeserver’s answers', () => {
  test('of one device: no more requests than so many at a time', () => {
    const answers = new HeldAnswers({ requestsPerDevice: 2 });
    const first = answers.enter('alice');
    answers.enter('alice');
    expect(answers.enter('alice')).toBeNull();
    expect(answers.enter('bob')).not.toBeNull();
    first?.();
    first?.();
    expect(answers.enter('alice')).not.toBeNull();
    expect(answers.enter('alice')).toBeNull();
  });

  test('of one device and in all: no more bytes; what ends makes room; small answers always have room in all', () => {
    const answers = new HeldAnswers({ bytesPerDevice: 100, bytesInAll: 150, alwaysHeldBytes: 10 });
    const [one, two] = [answers.open('alice'), answers.open('alice')];
    expect([one.grow(60), one.grow(80), two.grow(21), two.grow(20)]).toEqual([true, true, false, true]);
    const other = answers.open('bob');
    expect([other.grow(50), other.grow(51)]).toEqual([true, false]);
    const small = answers.open('carol');
    expect([small.grow(10), small.grow(11)]).toEqual([true, false]);
    one.end();
    one.end();
    expect([small.grow(80), small.grow(81)]).toEqual([true, false]);
    expect(one.grow(1)).toBe(false);
  });
});

describe('more than may be held', () => {
  test('an answer that is too large ⇒ streams through whole, asked for once, nothing of ours lost', async () => {
    const { sync, since, news } = await followed({ bytesPerDevice: 100_000 });
    const large = await sync.sync({ since, timeout: '0' });
    expect(large.body).toMatchObject({ account_data: LARGE });
    expect(large.body.rooms).toBeUndefined();
    expect(unwrapToken(large.body.next_batch).homeserver).toBe(LATER);
    expect(unwrapToken(large.body.next_batch).ours).toEqual(unwrapToken(since).ours);
    expect(sync.asked).toHaveLength(1);
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    const next = await sync.sync({ since: large.body.next_batch, timeout: '0' });
    expect(news(next)).toEqual(['new']);
  });

  test('an answer that fits, but not twice ⇒ goes out unmerged, nothing of ours lost', async () => {
    const { sync, since, news } = await followed({ bytesPerDevice: 1_000_000 });
    const large = await sync.sync({ since, timeout: '0' });
    expect(large.body).toMatchObject({ account_data: LARGE });
    expect(large.body.rooms).toBeUndefined();
    expect(large.headers.get('content-length')).toBe(String(Buffer.byteLength(large.text)));
    sync.script = ({ answer }) => answer({ next_batch: LATER });
    expect(news(await sync.sync({ since: large.body.next_batch, timeout: '0' }))).toEqual(['new']);
  });

  test('one request of a device too many ⇒ the homeserver’s answer streams, and room is made when others end', async () => {
    const { sync, since, news } = await followed({ requestsPerDevice: 1 });
    sync.script = () => {};
    const waiting = sync.sync();
    const held = await sync.upstream(0);
    const second = sync.sync({ since, timeout: '0' });
    (await sync.upstream(1)).answer({ next_batch: LATER, account_data: LARGE });
    const { body } = await second;
    expect(body).toMatchObject({ account_data: LARGE });
    expect(unwrapToken(body.next_batch)).toEqual({ homeserver: LATER, ours: unwrapToken(since).ours });
    held.answer({ next_batch: LATER });
    expect(news(await waiting)?.at(-1)).toBe('new');
    const third = sync.sync({ since: body.next_batch, timeout: '0' });
    (await sync.upstream(2)).answer({ next_batch: LATER });
    expect(news(await third)).toEqual(['new']);
  });

  test('room is made by every answer that was taken: many one after the other are all merged', async () => {
    const { sync, since, news } = await followed({ requestsPerDevice: 1, bytesPerDevice: 1_300_000 });
    for (let i = 0; i < 5; i++) {
      expect(news(await sync.sync({ since, timeout: '0', filter: `{"n":${i}}` }))).toEqual(['new']);
      sync.polls.close();
    }
  });

  test('a client that goes away from a large answer ends the request to the homeserver', async () => {
    const { sync, since } = await followed({ bytesPerDevice: 10 });
    const ended = Promise.withResolvers<void>();
    sync.script = ({ res }) => {
      res.once('close', () => ended.resolve());
      res.write(`{"next_batch":"${LATER}","x":"${'x'.repeat(100_000)}`);
    };
    const client = new AbortController();
    const response = await fetch(sync.target({ since, timeout: '0' }), {
      headers: { authorization: 'Bearer alice' },
      signal: client.signal,
    });
    expect(response.status).toBe(200);
    client.abort();
    await ended.promise;
  });

  test('before the store was read, just after a start: streams through, our part of the token kept', async () => {
    const { sync, since } = await followed({ bytesPerDevice: 10 });
    Object.defineProperty(sync.house.devicePeeks, 'anyPeeks', { value: false });
    Object.defineProperty(sync.house.devicePeeks, 'started', { value: false });
    const { body } = await sync.sync({ since, timeout: '0' });
    expect(body).toMatchObject({ account_data: LARGE });
    expect(unwrapToken(body.next_batch)).toEqual({ homeserver: LATER, ours: unwrapToken(since).ours });
  });
});

describe('the token of a streamed answer', () => {
  const wrapped = (token: string) => `${token}-with-ours`;
  const response = (chunks: Buffer[], headers: string[] = [], status = 200): UpstreamResponse => ({
    ...{ status, reason: 'OK', framing: 'chunked', rawHeaders: headers },
    body: Readable.from(chunks, { objectMode: false }),
  });
  const bodyOf = async (answer: UpstreamResponse) => Buffer.concat(await answer.body.toArray()).toString();

  test.each([
    ['{"next_batch":"s1","rooms":{}}', '{"next_batch":"s1-with-ours","rooms":{}}'],
    [' {\n "next_batch" : "s1" }', ' {\n "next_batch" : "s1-with-ours" }'],
    ['{"rooms":{},"next_batch":"s1"}', '{"rooms":{},"next_batch":"s1"}'],
    ['{"next_batch":"s\\u0031"}', '{"next_batch":"s\\u0031"}'],
    ['<html>', '<html>'],
    ['', ''],
  ])('%j ⇒ %j, in pieces of any size', async (text, expected) => {
    const bytes = Buffer.from(text);
    const pieces = Array.from({ length: bytes.length }, (_, i) => bytes.subarray(i, i + 1));
    expect(await bodyOf(await withNextBatch(response([bytes]), wrapped))).toBe(expected);
    expect(await bodyOf(await withNextBatch(response(pieces), wrapped))).toBe(expected);
  });

  test('a length that was said is said anew; a long answer keeps every byte behind the token', async () => {
    const rest = `,"é":"${'ü'.repeat(10_000)}"}`;
    const bytes = Buffer.from(`{"next_batch":"s1"${rest}`);
    const pieces = [bytes.subarray(0, 4095), bytes.subarray(4095)];
    const answer = await withNextBatch(response(pieces, ['Content-Length', `${bytes.length}`]), wrapped);
    expect(answer.rawHeaders).toEqual(['Content-Length', `${bytes.length + '-with-ours'.length}`]);
    expect(await bodyOf(answer)).toBe(`{"next_batch":"s1-with-ours"${rest}`);
  });

  test('coded, or no 200 ⇒ as it came', async () => {
    const coded = response([gzipSync('{"next_batch":"s1"}')], ['Content-Encoding', 'gzip']);
    expect(await withNextBatch(coded, wrapped)).toBe(coded);
    const refused = response([Buffer.from('{"next_batch":"s1"}')], [], 401);
    expect(await withNextBatch(refused, wrapped)).toBe(refused);
  });
});
