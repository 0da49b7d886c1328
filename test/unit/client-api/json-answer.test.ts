import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { sendJson } from '../../../src/client-api/json-answer.ts';
import type { Json } from '../../../src/matrix/json.ts';
import { StreamedJson, streamedList } from '../../../src/room-reads/streamed-json.ts';
import { ManualClock } from '../../support/manual-clock.ts';

/** A client's request, what became of sending it `body`, and the answer as far as it has come. */
async function answered(body: Json | StreamedJson, clock = new ManualClock()) {
  const outcome = Promise.withResolvers<unknown>();
  const server = createServer((_req, res: ServerResponse) => {
    sendJson(res, body, clock).then(
      () => outcome.resolve('sent'),
      (error: unknown) => {
        outcome.resolve(error);
        res.destroy();
      },
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const asked = request({ port, host: '127.0.0.1' }).end();
  const answer = once(asked, 'response').then(([response]) => response as IncomingMessage);
  answer.catch(() => undefined);
  return { outcome: outcome.promise, answer, asked };
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  return text;
}

/** So many pieces of 10 000 characters; then it fails, where it is told to. */
async function* pieces(count: number, failure?: Error): AsyncGenerator<string> {
  for (let i = 0; i < count; i++) yield JSON.stringify('x'.repeat(10_000));
  if (failure !== undefined) throw failure;
}

test.each([
  null,
  true,
  'ä"\u2028',
  12,
  [],
  {},
  [[1], { a: [] }],
  { chunk: [{ a: { b: [1, null] } }, []], end: 'e', nested: { deep: { deeper: [{}] } } },
  JSON.parse('{"__proto__":{"a":1},"constructor":[]}') as Json,
])('is the JSON of its body: %j', async (body) => {
  const { answer, outcome } = await answered(body);
  const response = await answer;
  expect(await textOf(response)).toBe(JSON.stringify(body));
  expect(response.headers).toMatchObject({
    'content-type': 'application/json',
    'access-control-allow-origin': '*',
    'content-length': String(Buffer.byteLength(JSON.stringify(body))),
  });
  expect(await outcome).toBe('sent');
});

test('members that are not there are left out, as JSON has it', async () => {
  const { answer } = await answered({ a: 1, b: undefined } as unknown as Json);
  expect(await textOf(await answer)).toBe('{"a":1}');
});

test('a large body comes whole, streamed or not', async () => {
  const list = Array.from({ length: 100 }, () => 'x'.repeat(10_000));
  for (const body of [{ chunk: list }, streamedList('{"chunk":[', pieces(100), ']}')]) {
    const { answer } = await answered(body);
    expect(JSON.parse(await textOf(await answer))).toEqual({ chunk: list });
  }
});

test('what fails at its beginning is not answered; what fails later never looks complete', async () => {
  const failure = new Error('the store is gone');
  const early = await answered(new StreamedJson(pieces(2, failure)));
  expect(await early.outcome).toBe(failure);
  await expect(early.answer).rejects.toThrow();
  const late = await answered(new StreamedJson(pieces(50, failure)));
  await expect(late.answer.then(textOf)).rejects.toThrow();
  expect(await late.outcome).toBe(failure);
});

test('a client that takes nothing for half a minute is let go', async () => {
  const clock = new ManualClock();
  const { answer, outcome } = await answered(new StreamedJson(pieces(100_000)), clock);
  const response = await answer;
  response.pause();
  response.on('error', () => undefined);
  let over: unknown = null;
  void outcome.then((value) => {
    over = value;
  });
  const start = clock.now();
  while (over === null) await clock.advance(1_000);
  expect(over).toBe('sent');
  expect(clock.now() - start).toBeGreaterThanOrEqual(30_000);
  response.resume();
  await expect.poll(() => response.errored).not.toBeNull();
  expect(clock.pending).toBe(0);
});
