import { expect, test } from 'vitest';
import { unwrapToken } from '../../../src/client-sync/sync-token.ts';
import {
  type HistoryPlace,
  parseRemoteHistoryToken,
  remoteHistoryToken,
} from '../../../src/client-view/history-token.ts';

const ID = `$${'a_-9'.repeat(10)}abc`;
const PLACES: readonly HistoryPlace[] = [
  { kind: 'log', position: 0, beside: null },
  { kind: 'log', position: Number.MAX_SAFE_INTEGER, beside: null },
  { kind: 'log', position: 28_000_123_456, beside: { eventId: ID, depth: 17, side: 'before' } },
  { kind: 'log', position: 7, beside: { eventId: '$old/+:a.test:8448', depth: 0, side: 'after' } },
  { kind: 'past', next: [], upTo: null, onward: 0 },
  { kind: 'past', next: Array.from({ length: 20 }, (_, i) => `${ID}${i}`), upTo: 9_000, onward: 28 },
];

const written = (parts: unknown) => `PEEK-${Buffer.from(JSON.stringify(parts)).toString('base64url')}`;

test('a token gives its place back, and stands in a URL as it is', () => {
  for (const place of PLACES) {
    const token = remoteHistoryToken(place);
    expect(parseRemoteHistoryToken(token)).toEqual(place);
    expect(encodeURIComponent(token)).toBe(token);
  }
});

test('a token is not taken for one of a sync', () => {
  for (const place of PLACES) {
    const token = remoteHistoryToken(place);
    expect(unwrapToken(token)).toEqual({ homeserver: token, ours: null });
  }
});

test.each([
  ['of a homeserver', 's1_2_3_4_5_6_7_8_9_10'],
  ['empty', ''],
  ['the mark alone', 'PEEK-'],
  ['a number', 'PEEK-7'],
  ['cut off', remoteHistoryToken(PLACES[2] as HistoryPlace).slice(0, -3)],
  ['with something behind it', `${remoteHistoryToken(PLACES[2] as HistoryPlace)}.`],
  ['without the mark', remoteHistoryToken(PLACES[2] as HistoryPlace).slice(5)],
  ['no array', written({ kind: 'log', position: 1 })],
  ['of another kind', written(['x', 1])],
  ['a negative position', written(['l', -1])],
  ['a position beyond numbers', written(['l', 2 ** 53])],
  ['no event ID', written(['l', 1, 'after', 'event', 3])],
  ['an event ID of 300 bytes', written(['l', 1, 'after', `$${'x'.repeat(300)}`, 3])],
  ['a depth that is none', written(['l', 1, 'after', ID, '3'])],
  ['a side that is none', written(['l', 1, '__proto__', ID, 3])],
  ['more than it has', written(['l', 1, 'after', ID, 3, 4])],
  ['21 branches', written(['p', 0, null, ...Array.from({ length: 21 }, () => ID)])],
  ['10 000 characters', `PEEK-${'A'.repeat(10_000)}`],
])('a token that is none, %s ⇒ no place', (_, token) => {
  expect(parseRemoteHistoryToken(token)).toBeNull();
});
