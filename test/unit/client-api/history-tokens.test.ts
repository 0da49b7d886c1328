import type { IncomingMessage, ServerResponse } from 'node:http';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { HistoryTokens } from '../../../src/client-api/history-tokens.ts';
import { type HistoryPlace, remoteHistoryToken } from '../../../src/client-view/history-token.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';
import { type BesideEvent, HomeserverDown } from '../../../src/homeserver/homeserver.ts';

const ROOM = '!room:there.test';
const EVENT = `$${'e'.repeat(43)}`;
const OTHER = `$${'o'.repeat(43)}`;
const IN_LOG: HistoryPlace = {
  kind: 'log',
  position: 7,
  beside: { eventId: EVENT, depth: 9, side: 'after' },
};
const IN_PAST: HistoryPlace = { kind: 'past', next: [OTHER, EVENT], upTo: 5, onward: 0 };

/** The target as it is passed on; null where the request is left alone at once. */
async function passedOn(
  target: string,
  says: (room: string, beside: BesideEvent) => string | null | Error = (_, { eventId, side }) =>
    `${side}-${eventId === EVENT ? 'event' : 'other'}`,
  method = 'GET',
): Promise<string | null> {
  const tokens = new HistoryTokens({
    homeserver: {
      async tokenBeside(_caller, room, beside) {
        const said = says(room, beside);
        if (said instanceof Error) throw said;
        return said;
      },
    },
    trusted: new TrustedProxies(),
    logger: pino({ level: 'silent' }),
  });
  const req = { method, url: target, headers: {}, rawHeaders: [], socket: {} } as unknown as IncomingMessage;
  const passed = Promise.withResolvers<void>();
  if (!tokens.take(req, {} as ServerResponse, passed.resolve)) return null;
  await passed.promise;
  return String(req.url);
}

const members = (query: string) => `/_matrix/client/v3/rooms/${ROOM}/members?${query}`;
const messages = (from: string, more = '') =>
  `/_matrix/client/v3/rooms/${ROOM}/messages?dir=b&from=${from}${more}`;

describe('a token of ours for a room that the homeserver is in', () => {
  test.each<[string, HistoryPlace, string]>([
    ['in the log', IN_LOG, 'after-event'],
    ['before the log', IN_PAST, 'before-other'],
  ])('%s becomes the homeserver’s own for the same place', async (_, place, token) => {
    expect(await passedOn(messages(remoteHistoryToken(place), '&limit=5'))).toBe(messages(token, '&limit=5'));
  });

  test('in `from` and `to`, of messages and relations', async () => {
    const [from, to] = [remoteHistoryToken(IN_LOG), remoteHistoryToken(IN_PAST)];
    const target = (one: string, other: string) =>
      `/_matrix/client/v1/rooms/${ROOM}/relations/${EVENT}?from=${one}&to=${other}`;
    expect(await passedOn(target(from, to))).toBe(target('after-event', 'before-other'));
  });

  test.each<[string, HistoryPlace, string]>([
    ['in the log', IN_LOG, 'after-event'],
    ['before the log', IN_PAST, 'before-other'],
  ])('in `at` of the members, %s', async (_, place, token) => {
    const target = (at: string) => members(`membership=join&at=${at}`);
    expect(await passedOn(target(remoteHistoryToken(place)))).toBe(target(token));
  });

  test.each<[string, string, (() => string | null | Error)?]>([
    ['garbled', 'PEEK-garbled'],
    ['that names no event', remoteHistoryToken({ kind: 'log', position: 3, beside: null })],
    ['for which the homeserver has none', remoteHistoryToken(IN_LOG), () => null],
    ['while the homeserver is down', remoteHistoryToken(IN_LOG), () => new HomeserverDown('away')],
  ])('%s goes up as it is, to be refused', async (_, token, says) => {
    expect(await passedOn(messages(token), says)).toBe(messages(token));
  });
});

test.each([
  ['a token of the homeserver', messages('s1_2_3'), 'GET'],
  ['another endpoint', `/_matrix/client/v3/rooms/${ROOM}/state?from=${remoteHistoryToken(IN_LOG)}`, 'GET'],
  ['`at` of messages', messages('s1', `&at=${remoteHistoryToken(IN_LOG)}`), 'GET'],
  ['`from` of the members', members(`from=${remoteHistoryToken(IN_LOG)}`), 'GET'],
  ['another method', messages(remoteHistoryToken(IN_LOG)), 'POST'],
  ['our mark elsewhere', `${messages('s1')}&filter=PEEK-`, 'GET'],
])('%s is left alone at once', async (_, target, method) => {
  expect(await passedOn(target, undefined, method)).toBeNull();
});
