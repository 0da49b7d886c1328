import { expect, test } from 'vitest';
import { NoTurn, OriginLanes } from '../../../src/federation-api/origin-lanes.ts';

/** Work that notes when it begins, and ends when it is told to. */
function work(begun: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<string>();
  const run = () => {
    begun.push(name);
    return promise;
  };
  return { run, end: () => resolve(name) };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('work of one server begins in the order it came, that of another beside it', async () => {
  const lanes = new OriginLanes(5);
  const begun: string[] = [];
  const [first, second, other] = ['first', 'second', 'other'].map((name) => work(begun, name));
  const results = [
    lanes.run('a.test', first?.run as never),
    lanes.run('a.test', second?.run as never),
    lanes.run('b.test', other?.run as never),
  ];
  await settled();
  expect(begun).toEqual(['first', 'other']);
  for (const each of [first, second, other]) each?.end();
  expect(await Promise.all(results)).toEqual(['first', 'second', 'other']);
  expect(lanes.size).toBe(0);
});

test('work that fails lets the next one begin', async () => {
  const lanes = new OriginLanes(5);
  const failed = lanes.run('a.test', () => Promise.reject(new Error('no')));
  const next = lanes.run('a.test', async () => 'next');
  await expect(failed).rejects.toThrow('no');
  expect(await next).toBe('next');
  expect(lanes.size).toBe(0);
});

test('more than may wait is refused, and not begun', async () => {
  const lanes = new OriginLanes(1);
  const begun: string[] = [];
  const first = work(begun, 'first');
  const running = [lanes.run('a.test', first.run), lanes.run('a.test', async () => 'second')];
  const refused = lanes.run('a.test', async () => begun.push('third'));
  await expect(refused).rejects.toEqual(expect.objectContaining({ name: 'NoTurn', kind: 'full' }));
  first.end();
  await Promise.all(running);
  expect(begun).toEqual(['first']);
});

test('what nobody waits for any more gives its place up; what has begun goes on', async () => {
  const lanes = new OriginLanes(1);
  const begun: string[] = [];
  const gone = new AbortController();
  const first = work(begun, 'first');
  const running = lanes.run('a.test', first.run, gone.signal);
  const left = lanes.run('a.test', async () => begun.push('left'), gone.signal);
  gone.abort();
  await expect(left).rejects.toEqual(expect.objectContaining({ kind: 'left' }));
  const next = lanes.run('a.test', async () => 'next');
  first.end();
  expect([await running, await next]).toEqual(['first', 'next']);
  expect(begun).toEqual(['first']);
  await expect(lanes.run('a.test', async () => 'never', gone.signal)).rejects.toThrow(NoTurn);
  expect(lanes.size).toBe(0);
});
