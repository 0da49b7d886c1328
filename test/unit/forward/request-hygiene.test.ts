import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  announcesBody,
  checkRequest,
  endToEndHeaders,
  forwardedHeaders,
  withoutHeader,
} from '../../../src/forward/request-hygiene.ts';
import { TrustedProxies } from '../../../src/forward/trusted-proxies.ts';

const NOBODY = new TrustedProxies();

function request(url: string, rawHeaders: string[] = [], peer = '192.0.2.1'): IncomingMessage {
  const socket = new Socket();
  Object.defineProperty(socket, 'remoteAddress', { value: peer });
  const req = new IncomingMessage(socket);
  req.url = url;
  req.rawHeaders = rawHeaders;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    req.headers[rawHeaders[i]?.toLowerCase() ?? ''] = rawHeaders[i + 1];
  }
  return req;
}

describe('what may be forwarded at all', () => {
  it.each(['/', '/_matrix/client/versions', '/%21a:b', '//x', '/?', '/\\'])('%s may', (url) => {
    expect(checkRequest(request(url))).toBeNull();
  });

  it.each(['*', '', 'http://a/', 'a:443', '?x', '/\u00e9', '/a b', '/\x7f'])('%j may not', (url) => {
    expect(checkRequest(request(url))).toMatchObject({ status: 400 });
  });

  it('one Host, and no transfer coding but chunked', () => {
    expect(checkRequest(request('/', ['Host', 'a', 'HOST', 'a']))).toMatchObject({ status: 400 });
    expect(checkRequest(request('/', ['Transfer-Encoding', 'Chunked']))).toBeNull();
    expect(checkRequest(request('/', ['Transfer-Encoding', 'gzip, chunked']))).toMatchObject({ status: 400 });
  });
});

describe('end-to-end headers', () => {
  it('whatever comes in, the rest stays in its order', () => {
    const hop = ['Connection', 'TE', 'Upgrade', 'Trailer', 'Keep-Alive', 'Transfer-Encoding', 'Expect'];
    const name = fc.constantFrom('Accept', 'cookie', 'X-A', 'x-a', 'Host', 'DNT', ...hop);
    const dropped = new Set(hop.map((each) => each.toLowerCase()));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.constantFrom('1', '2', ''))), (pairs) => {
        const kept = pairs.filter(([each]) => !dropped.has(each.toLowerCase()));
        // The values name no header, so Connection takes nothing else away.
        expect(endToEndHeaders(pairs.flat())).toEqual(kept.flat());
      }),
    );
  });

  it('what Connection names goes, but never Host or Content-Length', () => {
    const raw = [
      'Connection',
      'close, X-Gone ,host',
      'connection',
      'CONTENT-LENGTH',
      'x-gone',
      '1',
      'Host',
      'a',
    ];
    expect(endToEndHeaders([...raw, 'Content-Length', '4'])).toEqual(['Host', 'a', 'Content-Length', '4']);
  });

  it('one header can be taken out, in any case', () => {
    expect(withoutHeader(['A', '1', 'B', '2', 'a', '3'], 'a')).toEqual(['B', '2']);
  });
});

describe('who the client is', () => {
  const CLAIM = [
    'X-Forwarded-For',
    '6.6.6.6',
    'X-Forwarded-Proto',
    'https',
    'Forwarded',
    'for=x',
    'X-Real-IP',
    'y',
  ];

  it('an unknown peer is taken for the client', () => {
    expect(forwardedHeaders(request('/', CLAIM), NOBODY)).toEqual([
      ...['X-Forwarded-For', '192.0.2.1'],
      ...['X-Forwarded-Proto', 'http'],
    ]);
  });

  it('a trusted peer appends itself to the last list, or begins one', () => {
    const trusted = new TrustedProxies(['192.0.2.0/24']);
    const twice = ['X-Forwarded-For', 'a', 'x-forwarded-for', 'b', 'X-Forwarded-Proto', 'https'];
    expect(forwardedHeaders(request('/', twice), trusted)).toEqual([
      ...['X-Forwarded-For', 'a', 'x-forwarded-for', 'b, 192.0.2.1'],
      ...['X-Forwarded-Proto', 'https'],
    ]);
    expect(forwardedHeaders(request('/'), trusted)).toEqual([
      ...['X-Forwarded-For', '192.0.2.1'],
      ...['X-Forwarded-Proto', 'http'],
    ]);
  });

  it('trusted proxies are addresses and ranges, also where IPv4 arrives as IPv6', () => {
    const trusted = new TrustedProxies(['10.0.0.0/8', '2001:db8::/32', '192.0.2.9']);
    for (const inside of ['10.1.2.3', '::ffff:10.1.2.3', '2001:db8::1', '192.0.2.9']) {
      expect(trusted.has(inside), inside).toBe(true);
      expect(trusted.has(inside), inside).toBe(true);
    }
    for (const outside of ['11.0.0.1', '2001:db9::1', '192.0.2.8', 'unknown', '']) {
      expect(trusted.has(outside), outside).toBe(false);
    }
    expect(() => new TrustedProxies(['no address'])).toThrow();
  });
});

it('a body is announced by a length above 0 or a transfer coding', () => {
  expect(announcesBody(request('/'))).toBe(false);
  expect(announcesBody(request('/', ['Content-Length', '0']))).toBe(false);
  expect(announcesBody(request('/', ['Content-Length', '1']))).toBe(true);
  expect(announcesBody(request('/', ['Transfer-Encoding', 'chunked']))).toBe(true);
});
