import { describe, expect, it } from 'vitest';
import { HomeserverDown, HomeserverRefusal, NotReadable } from '../../../src/homeserver/homeserver.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import {
  READER,
  rawEvent,
  registration,
  type Scripted,
  SERVER,
  scriptedHomeserver,
} from './scripted-homeserver.ts';

const ROOM = `!room:${SERVER}`;
const wait = () => ({ timeoutMs: 1000, signal: new AbortController().signal });

function answeringEvents(answer: Scripted) {
  return scriptedHomeserver((path) => (path.includes('/events?') ? answer : undefined));
}

describe('a request made as the reader', () => {
  const asked =
    '/_matrix/client/v3/rooms/!r/messages?dir=b&access_token=secret&from=s%201&user%5Fid=@a:b&%FF=1';

  it('carries the reader’s credentials instead of whoever’s it was, and all else of the target', async () => {
    const { homeserver } = scriptedHomeserver(() => undefined);
    expect(homeserver.asReader(asked)).toBeNull();
    await homeserver.visibleEvent(ROOM, '$x');
    const signed = homeserver.asReader(asked);
    const rest = '/_matrix/client/v3/rooms/!r/messages?dir=b&from=s%201&%FF=1';
    expect(signed).toEqual({
      target: `${rest}&user_id=${encodeURIComponent(READER)}`,
      authorization: `Bearer ${registration.asToken}`,
    });
    const bare = homeserver.asReader('/_matrix/client/v3/rooms/!r/state?access_token=secret');
    expect(bare?.target).toBe(`/_matrix/client/v3/rooms/!r/state?user_id=${encodeURIComponent(READER)}`);
  });

  it('with a reader’s own account: its token', async () => {
    const { homeserver } = scriptedHomeserver(() => undefined, 'token');
    await homeserver.visibleEvent(ROOM, '$x');
    expect(homeserver.asReader('/x?user_id=@a:b')).toEqual({ target: '/x', authorization: 'Bearer syt' });
  });
});

describe('following', () => {
  it('asks as the reader, with the token of the registration', async () => {
    const { homeserver, requests } = answeringEvents([200, { start: 's1', end: 's2', chunk: [] }]);
    await homeserver.follow(ROOM, 's1', wait());
    const request = requests.find(({ path }) => path.includes('/events?'));
    expect(request?.headers?.authorization).toBe(`Bearer ${registration.asToken}`);
    expect(new URLSearchParams(request?.path.split('?')[1]).get('user_id')).toBe(READER);
  });

  it('an event nested 5 000 deep costs itself and no other', async () => {
    const deep = `{"event_id":"$deep","content":${'['.repeat(5000)}${']'.repeat(5000)}}`;
    const chunk = `[${JSON.stringify(rawEvent('$a'))},${deep},null,7,"text",${JSON.stringify(rawEvent('$b'))}]`;
    const { homeserver } = answeringEvents([200, `{"start":"s1","end":"s2","chunk":${chunk}}`]);
    const { events, end } = await homeserver.follow(ROOM, 's1', wait());
    expect(events.map((event) => event.eventId)).toEqual(['$a', '$b']);
    expect(end).toBe('s2');
  });

  it('strips unsigned, and the event ID where the room version has none in events', async () => {
    const event = rawEvent('$a', { unsigned: { age: 1, replaces_state: '$old' } });
    const { homeserver } = answeringEvents([200, { start: 's1', end: 's2', chunk: [event] }]);
    const [read] = (await homeserver.follow(ROOM, 's1', wait())).events;
    expect(read?.replaces).toBe('$old');
    expect(read?.pdu).not.toHaveProperty('event_id');
    expect(read?.pdu).not.toHaveProperty('unsigned');
  });

  it('a redaction that fails its content hash is asked for by federation', async () => {
    const redaction = rawEvent('$r', { type: 'm.room.redaction', redacts: '$x', content: { redacts: '$x' } });
    const { unsigned: _, event_id: __, ...pdu } = rawEvent('$r', { type: 'm.room.redaction', depth: 99 });
    const { homeserver } = scriptedHomeserver((path) => {
      if (path.includes('/events?')) return [200, { start: 's1', end: 's2', chunk: [redaction] }];
      return path.includes('/federation/v1/event/$r') ? [200, { pdus: [pdu] }] : undefined;
    });
    expect((await homeserver.follow(ROOM, 's1', wait())).events[0]?.pdu).toEqual(pdu);
  });

  it('without a token: the present one and no events, even if some came', async () => {
    const { homeserver } = answeringEvents([200, { start: 's1', end: 's2', chunk: [rawEvent('$a')] }]);
    expect(await homeserver.follow(ROOM, null, wait())).toEqual({ events: [], end: 's1' });
  });

  it.each<[string, Scripted, unknown]>([
    ['403', [403, { errcode: 'M_FORBIDDEN' }], NotReadable],
    ['400', [400, { errcode: 'M_UNKNOWN' }], HomeserverRefusal],
    ['401', [401, { errcode: 'M_UNKNOWN_TOKEN' }], HomeserverRefusal],
    ['500', [500, 'oops'], HomeserverDown],
    ['502 HTML', [502, '<html>'], HomeserverDown],
    ['HTML with 200', [200, '<html>'], HomeserverDown],
    ['an empty body', [200, ''], HomeserverDown],
    ['a truncated body', [200, '{"start":"s1","chunk":[{"type"'], HomeserverDown],
    ['an array', [200, []], HomeserverDown],
    ['no token', [200, { chunk: [] }], HomeserverDown],
    ['a chunk that is no array', [200, { end: 's2', chunk: {} }], HomeserverDown],
    ['no connection', new HttpError('connection', 'refused'), HomeserverDown],
    ['a timeout', new HttpError('timeout', 'too slow'), HomeserverDown],
    ['a cancelled request', new HttpError('aborted', 'cancelled'), HomeserverDown],
  ])('%s is a typed error', async (_, answer, error) => {
    const { homeserver } = answeringEvents(answer);
    await expect(homeserver.follow(ROOM, 's1', wait())).rejects.toThrow(error as never);
  });

  it('a room of an unknown room version is not readable', async () => {
    const { homeserver } = scriptedHomeserver((path) =>
      path.includes('/m.room.create/') ? [200, { content: { room_version: 'org.x' } }] : undefined,
    );
    await expect(homeserver.follow(ROOM, 's1', wait())).rejects.toThrow(NotReadable);
  });
});

describe('history', () => {
  it('pagination continues past filtered pages', async () => {
    const pages = new Map([
      ['s9', { start: 's9', end: 't5', chunk: [] }],
      ['t5', { start: 't5', end: 't2', chunk: [rawEvent('$b')] }],
      ['t2', { start: 't2', chunk: [rawEvent('$a')] }],
    ]);
    const { homeserver } = scriptedHomeserver((path) => {
      const from = /[?&]from=([^&]*)/.exec(path)?.[1] ?? '';
      return path.includes('/messages') ? [200, pages.get(from)] : undefined;
    });
    const { events, end } = await homeserver.history(ROOM, 's9', 10);
    expect(events.map((event) => event.eventId)).toEqual(['$b', '$a']);
    expect(end).toBeNull();
  });

  it('ends where the token does not move', async () => {
    const { homeserver, requests } = scriptedHomeserver((path) =>
      path.includes('/messages') ? [200, { start: 's9', end: 's9', chunk: [] }] : undefined,
    );
    await homeserver.history(ROOM, 's9', 10);
    expect(requests.filter(({ path }) => path.includes('/messages'))).toHaveLength(1);
  });
});

describe('the reader', () => {
  it('is none without settings: everything of the reader is not readable', async () => {
    const { homeserver } = scriptedHomeserver(() => undefined, null);
    await expect(homeserver.currentState(ROOM)).rejects.toThrow(NotReadable);
    expect(homeserver.readerReady()).toBe(false);
  });

  it('is set up again after a while when the homeserver refused it', async () => {
    let loaded = false;
    const { homeserver, clock, requests } = scriptedHomeserver((path) => {
      if (path.endsWith('/register') && !loaded) return [401, { errcode: 'M_UNKNOWN_TOKEN' }];
      return path.endsWith(`/state?user_id=${READER}`) ? [200, []] : undefined;
    });
    await expect(homeserver.currentState(ROOM)).rejects.toThrow(/not loaded the registration/);
    await expect(homeserver.currentState(ROOM)).rejects.toThrow(HomeserverDown);
    expect(requests).toHaveLength(1);
    loaded = true;
    clock.jump(6000);
    expect(await homeserver.currentState(ROOM)).toEqual([]);
    expect(homeserver.readerReady()).toBe(true);
  });

  it('is set up once for all who wait for it', async () => {
    const { homeserver, requests } = scriptedHomeserver((path) =>
      path.includes('/state?') ? [200, []] : undefined,
    );
    await Promise.all(Array.from({ length: 20 }, () => homeserver.currentState(ROOM)));
    expect(requests.filter(({ path }) => path.endsWith('/register'))).toHaveLength(1);
  });

  it('is set up as soon as a homeserver that was down is back', async () => {
    let down = true;
    const { homeserver } = scriptedHomeserver((path) => {
      if (down) return [503, {}];
      return path.includes('/state?') ? [200, []] : undefined;
    });
    await expect(homeserver.currentState(ROOM)).rejects.toThrow(HomeserverDown);
    down = false;
    expect(await homeserver.currentState(ROOM)).toEqual([]);
  });

  it('is no longer ready when its token is refused', async () => {
    const { homeserver } = scriptedHomeserver(
      (path) => (path.endsWith('/state') ? [401, { errcode: 'M_UNKNOWN_TOKEN' }] : undefined),
      'token',
    );
    await expect(homeserver.currentState(ROOM)).rejects.toThrow(HomeserverRefusal);
    expect(homeserver.readerReady()).toBe(false);
  });

  it('waits out a 429 as long as the homeserver says', async () => {
    let refusals = 2;
    const { homeserver, clock } = scriptedHomeserver((path) => {
      if (!path.includes('/state?')) return undefined;
      return refusals-- > 0 ? [429, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 2000 }] : [200, []];
    });
    const reading = homeserver.currentState(ROOM);
    await clock.advance(3900);
    expect(refusals).toBe(0);
    await clock.advance(200);
    expect(await reading).toEqual([]);
  });

  it('gives up on a 429 that never ends', async () => {
    const { homeserver, clock } = scriptedHomeserver((path) =>
      path.includes('/state?') ? [429, { retry_after_ms: 1e12 }] : undefined,
    );
    const refused = expect(homeserver.currentState(ROOM)).rejects.toMatchObject({ status: 429 });
    await clock.advance(60_000);
    await refused;
  });
});
