import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { UpstreamResponse } from '../../../src/forward/fetched-exchange.ts';
import { readWhile } from '../../../src/forward/raw-forwarder.ts';

/** An answer whose body is here, as far as it goes. */
function answer(...chunks: (string | null)[]): UpstreamResponse {
  const body = new Readable({ read() {} });
  for (const chunk of chunks) body.push(chunk === null ? null : Buffer.from(chunk));
  return { status: 200, reason: 'OK', rawHeaders: [], framing: 'chunked', body };
}

/** What is left of the body for who reads it next. */
const rest = async ({ body }: UpstreamResponse) => Buffer.concat(await body.toArray()).toString();

test('a body that may be held comes whole, with every size on the way asked', async () => {
  const sizes: number[] = [];
  const response = answer('ab', 'cd');
  const whole = readWhile(response, (bytes) => sizes.push(bytes) > 0);
  setImmediate(() => {
    response.body.push(Buffer.from('e'));
    response.body.push(null);
  });
  expect((await whole)?.toString()).toBe('abcde');
  expect(sizes.at(-1)).toBe(5);
});

test('a body that may not is as if nobody had read of it, also one that had come whole before', async () => {
  const response = answer('abc', 'def', null);
  // From a tick: what is read there at once would tell its end before the bytes are back.
  const refused = Promise.withResolvers<Buffer | null>();
  process.nextTick(() => readWhile(response, () => false).then(refused.resolve, refused.reject));
  expect(await refused.promise).toBeNull();
  expect(await rest(response)).toBe('abcdef');
});

test('a body that may not be held any further goes on behind what was read', async () => {
  const response = answer('abc');
  const refused = readWhile(response, (bytes) => bytes < 6);
  setImmediate(() => response.body.push(Buffer.from('def')));
  expect(await refused).toBeNull();
  response.body.push(Buffer.from('ghi'));
  response.body.push(null);
  expect(await rest(response)).toBe('abcdefghi');
});

test('an answer that breaks off is none', async () => {
  const response = answer('abc');
  const broken = readWhile(response, () => true);
  setImmediate(() => response.body.destroy(new Error('broken off')));
  await expect(broken).rejects.toThrow('broken off');
});
