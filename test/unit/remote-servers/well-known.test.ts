import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import { HttpError, type HttpResponse } from '../../../src/platform/http-client.ts';
import { WellKnown } from '../../../src/remote-servers/well-known.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { FakeHttps, response } from './fakes.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let clock: ManualClock;
beforeEach(() => {
  clock = new ManualClock();
});

function lookingUp(answer: (url: string) => Promise<HttpResponse> | HttpResponse) {
  const https = new FakeHttps(({ url }) => answer(url));
  return { https, wellKnown: new WellKnown(https, clock) };
}

const delegating = (to: string, headers: HttpResponse['headers'] = {}): HttpResponse => ({
  ...response(200, { 'm.server': to }),
  headers,
});
/** A header that comes several times is a list, whatever the type says. */
const twice = (headers: Record<string, string[]>) => headers as unknown as HttpResponse['headers'];
const down = () => Promise.reject(new HttpError('connection', 'down'));

test.each(['1.2.3', '2130706433', '0x7f.1', '0127.0.0.1'])(
  'a host that URLs read otherwise has none: %s',
  async (host) => {
    const { https, wellKnown } = lookingUp(() => delegating('m.example'));
    expect(await wellKnown.delegate(host)).toBeNull();
    expect(https.asked).toEqual([]);
  },
);

test('the file of the host is asked once for many who want it, at port 443, bounded in size and time', async () => {
  const { https, wellKnown } = lookingUp(() => delegating('matrix.example.org:443'));
  const found = await Promise.all(Array.from({ length: 50 }, () => wellKnown.delegate('example.org')));
  expect(new Set(found)).toEqual(new Set(['matrix.example.org:443']));
  expect(https.asked.length).toBe(1);
  expect(https.asked[0]).toMatchObject({
    url: 'https://example.org/.well-known/matrix/server',
    destination: { host: 'example.org', port: 443, certificateName: 'example.org' },
    request: { maxBytes: 50 * 1024, timeoutMs: 8000 },
  });
});

describe('`Cache-Control: max-age=99999999` (≤ 48 h), `max-age=0` (≥ 5 min), `private`, bad Expires ⇒ how long an answer is kept', () => {
  test.each<[string, HttpResponse['headers'], number]>([
    ['Cache-Control: max-age=99999999 (≤ 48 h)', { 'cache-control': 'max-age=99999999' }, 48 * HOUR],
    ['max-age=0 (≥ 5 min)', { 'cache-control': 'max-age=0' }, 5 * MINUTE],
    ['no-store (≥ 5 min)', { 'cache-control': 'no-store' }, 5 * MINUTE],
    ['max-age within the bounds', { 'cache-control': 'Public, Max-Age=7200' }, 2 * HOUR],
    ['private ⇒ as without it', { 'cache-control': 'private' }, 24 * HOUR],
    ['private with max-age', { 'cache-control': 'private, max-age=7200' }, 2 * HOUR],
    ['bad Expires ⇒ past', { expires: '0' }, 5 * MINUTE],
    ['Expires', { expires: new Date(1_700_000_000_000 + 3 * HOUR).toUTCString() }, 3 * HOUR],
    ['max-age before Expires', { 'cache-control': 'max-age=3600', expires: 'never' }, HOUR],
    ['nothing said', {}, 24 * HOUR],
    [
      'max-age, of which a cache on the way has used some',
      { 'cache-control': 'max-age=7200', age: '3600' },
      HOUR,
    ],
    ['an age beyond it', { 'cache-control': 'max-age=7200', age: '9999' }, 5 * MINUTE],
    ['headers that come twice', twice({ 'cache-control': ['public', 'max-age=7200'] }), 2 * HOUR],
    ['Expires twice', twice({ expires: ['0', '0'], age: ['1', '2'] }), 5 * MINUTE],
    ['an absurd number', { 'cache-control': 'max-age=1e9' }, 24 * HOUR],
  ])('%s', async (_, headers, kept) => {
    const { https, wellKnown } = lookingUp(() => delegating('m.example', headers));
    await wellKnown.delegate('example.org');
    await clock.advance(kept - 1);
    await wellKnown.delegate('example.org');
    expect(https.asked.length).toBe(1);
    await clock.advance(1);
    await wellKnown.delegate('example.org');
    expect(https.asked.length).toBe(2);
  });

  test('a file that cannot be reached is asked for again after 1 min, 2, 4 … 60', async () => {
    const { https, wellKnown } = lookingUp(down);
    for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60]) {
      const before = https.asked.length;
      expect(await wellKnown.delegate('example.org')).toBeNull();
      await clock.advance(minutes * MINUTE - 1);
      await wellKnown.delegate('example.org');
      expect(https.asked.length).toBe(before + 1);
      await clock.advance(1);
    }
    https.answer = () => delegating('m.example');
    expect(await wellKnown.delegate('example.org')).toBe('m.example');
  });

  test('failures: one hour', async () => {
    const { https, wellKnown } = lookingUp(() => response(404, ''));
    expect(await wellKnown.delegate('example.org')).toBeNull();
    await clock.advance(HOUR - 1);
    await wellKnown.delegate('example.org');
    expect(https.asked.length).toBe(1);
    await clock.advance(1);
    await wellKnown.delegate('example.org');
    expect(https.asked.length).toBe(2);
  });
});

describe('what is no delegation', () => {
  test.each<[string, HttpResponse]>([
    ['another status', response(500, { 'm.server': 'm.example' })],
    ['no JSON', response(200, '<html>')],
    ['an array', response(200, ['m.example'])],
    ['no m.server', response(200, { server: 'm.example' })],
    ['m.server of another type', response(200, { 'm.server': { toString: 'm.example' } })],
    ['m.server that is a URL', delegating('https://m.example')],
    ['an empty name', delegating('')],
    ['300 chars', delegating(`${'a'.repeat(300)}.example`)],
    ['nested JSON of depth 5 000', response(200, `{"m.server":"m.example","x":${'['.repeat(5000)}`)],
    [
      'gzip bomb 10 MB → 10 GB ⇒ never unpacked',
      { status: 200, headers: { 'content-encoding': 'gzip' }, body: gzipSync('{"m.server":"m.example"}') },
    ],
  ])('%s', async (_, answer) => {
    expect(await lookingUp(() => answer).wellKnown.delegate('example.org')).toBeNull();
  });

  test('body 51 KiB, 1 GiB, endless drip ⇒ the request fails and there is none', async () => {
    for (const reason of ['too_large', 'timeout'] as const) {
      const { wellKnown } = lookingUp(() => Promise.reject(new HttpError(reason, reason)));
      expect(await wellKnown.delegate('example.org')).toBeNull();
    }
  });
});

describe('redirects', () => {
  test('five are followed, relative ones too, each to its own host and name', async () => {
    const { https, wellKnown } = lookingUp((url) => {
      const hop = Number(new URL(url).searchParams.get('hop') ?? 0);
      if (hop === 5) return delegating('m.example');
      const host = hop % 2 === 0 ? `//hop${hop}.example:444` : '';
      return response(301 + (hop % 2), '', { location: `${host}/x?hop=${hop + 1}` });
    });
    expect(await wellKnown.delegate('example.org')).toBe('m.example');
    expect(https.asked.length).toBe(6);
    expect(https.asked[1]?.destination).toEqual({
      host: 'hop0.example',
      port: 444,
      certificateName: 'hop0.example',
    });
    expect(https.asked[2]?.destination.host).toBe('hop0.example');
  });

  test('redirect loop / 31 redirects ⇒ given up after five', async () => {
    const loop = lookingUp((url) => response(302, '', { location: url }));
    expect(await loop.wellKnown.delegate('example.org')).toBeNull();
    expect(loop.https.asked.length).toBe(6);
  });

  test.each([
    'data:application/json,{"m.server":"m.example"}',
    'file:///etc/passwd',
    'http://example.org/x',
    'https://u:p@example.org/',
    '//',
    '',
  ])('redirect to `data:`/`file:`/http and the like ⇒ not followed: %s', async (location) => {
    const { https, wellKnown } = lookingUp(() => response(302, '', location === '' ? {} : { location }));
    expect(await wellKnown.delegate('example.org')).toBeNull();
    expect(https.asked.length).toBe(1);
  });

  test('a literal in a redirect is connected to as what it means, so that the guard sees it', async () => {
    const { https, wellKnown } = lookingUp(() => response(302, '', { location: 'https://0x7f.1/x' }));
    https.answer = ({ url }) =>
      url.includes('example.org') ? response(302, '', { location: 'https://0x7f.1/x' }) : response(404, '');
    await wellKnown.delegate('example.org');
    expect(https.asked[1]?.destination.host).toBe('127.0.0.1');
    https.answer = ({ url }) =>
      url.includes('six.example')
        ? response(302, '', { location: 'https://[::ffff:127.0.0.1]/' })
        : response(404, '');
    await wellKnown.delegate('six.example');
    expect(https.asked[3]?.destination.host).toBe('::ffff:7f00:1');
  });

  test('the total time is shared by all hops', async () => {
    const { https, wellKnown } = lookingUp(async (url) => {
      await clock.advance(2000);
      return response(302, '', { location: url });
    });
    await wellKnown.delegate('example.org');
    expect(https.asked.map(({ request }) => request.timeoutMs)).toEqual([8000, 6000, 4000, 2000, 1, 1]);
  });
});

describe('an answer that was good', () => {
  test('outlives its time while the file cannot be reached, but not 48 hours', async () => {
    const { https, wellKnown } = lookingUp(() =>
      delegating('m.example', { 'cache-control': 'max-age=3600' }),
    );
    await wellKnown.delegate('example.org');
    https.answer = down;
    await clock.advance(HOUR);
    expect(await wellKnown.delegate('example.org')).toBe('m.example');
    await clock.advance(47 * HOUR);
    expect(await wellKnown.delegate('example.org')).toBeNull();
  });

  test('is used after two seconds while the file does not come, and until it does', async () => {
    const { https, wellKnown } = lookingUp(() =>
      delegating('m.example', { 'cache-control': 'max-age=3600' }),
    );
    await wellKnown.delegate('example.org');
    const { promise, resolve } = Promise.withResolvers<HttpResponse>();
    https.answer = () => promise;
    await clock.advance(HOUR);
    let found: string | null = null;
    void wellKnown.delegate('example.org').then((delegate) => {
      found = delegate;
    });
    await clock.advance(1999);
    expect(found).toBeNull();
    await clock.advance(1);
    expect(found).toBe('m.example');
    resolve(delegating('new.example'));
    await clock.advance(0);
    expect(await wellKnown.delegate('example.org')).toBe('new.example');
    expect(https.asked.length).toBe(2);
    expect(clock.pending).toBe(0);
  });

  test('goes at its time when the file is gone', async () => {
    const { https, wellKnown } = lookingUp(() =>
      delegating('m.example', { 'cache-control': 'max-age=3600' }),
    );
    await wellKnown.delegate('example.org');
    https.answer = () => response(404, '');
    await clock.advance(HOUR);
    expect(await wellKnown.delegate('example.org')).toBeNull();
  });

  test('is given up for a file that has become too large', async () => {
    const { https, wellKnown } = lookingUp(() =>
      delegating('m.example', { 'cache-control': 'max-age=3600' }),
    );
    await wellKnown.delegate('example.org');
    https.answer = () => Promise.reject(new HttpError('too_large', 'large'));
    await clock.advance(HOUR);
    expect(await wellKnown.delegate('example.org')).toBeNull();
    await clock.advance(HOUR - 1);
    await wellKnown.delegate('example.org');
    expect(https.asked.length).toBe(2);
  });

  test('well-known flips to attacker for one fetch ⇒ the cache heals within its time, at most 48 h', async () => {
    const { https, wellKnown } = lookingUp(() =>
      delegating('evil.example', { 'cache-control': 'max-age=99999999' }),
    );
    expect(await wellKnown.delegate('example.org')).toBe('evil.example');
    https.answer = () => delegating('m.example');
    await clock.advance(48 * HOUR);
    expect(await wellKnown.delegate('example.org')).toBe('m.example');
  });
});
