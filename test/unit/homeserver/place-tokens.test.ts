import { expect, test } from 'vitest';
import type { BesideEvent } from '../../../src/homeserver/homeserver.ts';
import { type Scripted, SERVER, scriptedHomeserver } from './scripted-homeserver.ts';

const ROOM = `!room:${SERVER}`;
const BEFORE: BesideEvent = { eventId: '$event', depth: 12, side: 'before' };
const AFTER: BesideEvent = { ...BEFORE, side: 'after' };
const CALLER = {
  authorization: 'Bearer alice',
  query: 'dir=b&user_id=@a:b',
  userAgent: null,
  forwardedFor: null,
};

async function token(beside: BesideEvent, context: Scripted, newest: Scripted = [500, {}]) {
  const { homeserver, requests } = scriptedHomeserver((path) =>
    path.includes('/context/') ? context : path.includes('/messages') ? newest : undefined,
  );
  return { token: await homeserver.tokenBeside(CALLER, ROOM, beside), requests };
}

test('a place beside an event that the homeserver has: what its /context says, asked as the caller', async () => {
  const context: Scripted = [200, { start: 't11-4_1', end: 't12-4_1' }];
  const { token: before, requests } = await token(BEFORE, context);
  expect(before).toBe('t12-4_1');
  expect(requests.at(-1)).toMatchObject({
    path: `/_matrix/client/v3/rooms/${encodeURIComponent(ROOM)}/context/%24event?limit=0&user_id=@a:b`,
    headers: { authorization: 'Bearer alice' },
  });
  expect((await token(AFTER, context)).token).toBe('t12-3_1');
});

test('a place before an event that was fetched from others: an older one may have the higher position', async () => {
  const context: Scripted = [200, { start: 't11--21_1', end: 't12--21_1' }];
  expect((await token(AFTER, context)).token).toBe('t12--22_1');
});

const MISSING: Scripted = [404, { errcode: 'M_NOT_FOUND' }];

test.each([
  ['s44_17_4_0', 't12-44_17_4_0'],
  ['m43~2.44~3.60_17_4', 't12-43_17_4'],
  ['t90-44_17', 't12-44_17'],
  ['s44', 't12-44'],
])('one that it has not fetched yet: by its depth, at its present token %s', async (start, expected) => {
  expect((await token(BEFORE, MISSING, [200, { start }])).token).toBe(expected);
  expect((await token(AFTER, MISSING, [200, { start }])).token).toBe(expected);
});

test.each<[string, Scripted, Scripted]>([
  ['the caller may not read the room', [403, {}], [403, {}]],
  ['its tokens are of another kind', MISSING, [200, { start: 'abc' }]],
  ['it answers what is none', [200, 'x'], [200, []]],
])('%s ⇒ none', async (_, context, newest) => {
  expect((await token(BEFORE, context, newest)).token).toBeNull();
});
