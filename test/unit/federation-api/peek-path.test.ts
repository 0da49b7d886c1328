import { expect, test } from 'vitest';
import { parsePeekPath } from '../../../src/federation-api/peek-path.ts';

const BASE = '/_matrix/federation/v1/peek/';

test.each([
  ['!r:a/p', '!r:a', 'p'],
  ['%21r%3Aa/p', '!r:a', 'p'],
  ['%21r%253Aa/p', '!r%3Aa', 'p'],
  ['!r%2Fs:a/!r:b', '!r/s:a', '!r:b'],
  ['!r+s:a/p', '!r+s:a', 'p'],
  ['!r:a', '!r:a', null],
])('%s is decoded once and not normalised', (path, roomId, peekId) => {
  expect(parsePeekPath(`${BASE}${path}`)).toEqual({ roomId, peekId, renew: false, versions: ['1'] });
});

test.each(['', '/p', '!r:a/', '!r:a/p/', '!r:a/p/renew/x', '!r:a/p/other', '%zz/p', '../peek/!r:a/%ff'])(
  '%j is no path of ours',
  (path) => expect(parsePeekPath(`${BASE}${path}`)).toBeNull(),
);

test('`ver` may be repeated', () => {
  expect(parsePeekPath(`${BASE}!r:a/p?ver=10&x=1&ver=12`)?.versions).toEqual(['10', '12']);
  expect(parsePeekPath(`${BASE}!r:a/p/renew?ver=`)).toMatchObject({ renew: true, versions: [''] });
});
