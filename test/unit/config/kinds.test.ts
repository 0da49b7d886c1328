import { describe, expect, test } from 'vitest';
import {
  duration,
  httpOrigin,
  type Kind,
  listenAddress,
  networks,
  rate,
  redisUrl,
  serverName,
  serverNames,
} from '../../../src/config/kinds.ts';

function parse<T>(kind: Kind<T>, text: string): T | undefined {
  const result = kind.schema.safeParse(text);
  return result.success ? result.data : undefined;
}

describe('kinds of settings', () => {
  test.each([
    ['30s', 30_000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
    ['365d', 31_536_000_000],
  ])('duration %s', (text, ms) => expect(parse(duration, text)).toBe(ms));

  test.each(['', '0s', '10', 'm', '1.5h', '-1m', '10 m', '1w', '366d', '1h30m', '٣s'])(
    'no duration: %j',
    (text) => expect(parse(duration, text)).toBeUndefined(),
  );

  test.each(['10', '0/m', '10/w', '10/', '/m', '1e3/m', '10/mm'])('no rate: %j', (text) => {
    expect(parse(rate, text)).toBeUndefined();
  });

  test.each([
    ['127.0.0.1:8090', { host: '127.0.0.1', port: 8090 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['localhost:65535', { host: 'localhost', port: 65_535 }],
  ])('listen address %s', (text, address) => expect(parse(listenAddress, text)).toEqual(address));

  test.each([
    '8090',
    ':8090',
    '::1:8090',
    '[::1]',
    '[zz]:1',
    '[1.2.3.4]:1',
    '300.1.1.1:1',
    '1.2.3:1',
    'h:65536',
    'h:x',
  ])('no listen address: %j', (text) => expect(parse(listenAddress, text)).toBeUndefined());

  test.each([
    'ftp://h',
    'h:8008',
    'http://',
    'http://u:p@h',
    'http://h/_matrix',
    'http://h/?',
    'http://h/#',
    'http://h?x=1',
  ])('no homeserver URL: %j', (text) => expect(parse(httpOrigin, text)).toBeUndefined());

  test('a homeserver URL may have a port, an IPv6 address and a slash at its end', () => {
    expect(parse(httpOrigin, 'http://[::1]:8008/')).toBe('http://[::1]:8008');
  });

  test.each(['example.org', 'example.org:8448', '1.2.3.4', '[2001:db8::1]:80', 'localhost'])(
    'server name %s',
    (text) => expect(parse(serverName, text)).toBe(text),
  );

  test.each(['https://example.org', 'exa mple.org', 'example.org/', '@a:b', 'example.org:99999999'])(
    'no server name: %j',
    (text) => {
      expect(parse(serverName, text)).toBeUndefined();
      expect(parse(serverNames, `ok.example,${text}`)).toBeUndefined();
    },
  );

  test.each([
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['10.128.0.0/9', '10.128.0.0/9'],
    ['192.0.2.1', '192.0.2.1/32'],
    ['::1', '::1/128'],
    ['2001:DB8:0:0::/33', '2001:db8::/33'],
  ])('network %s', (text, normal) => expect(parse(networks, text)).toEqual([normal]));

  test.each([
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '10.0.0.1/8',
    '10/8',
    '0x0a.0.0.0/8',
    '167772160/8',
    'fe80::1%eth0',
    '2001:db8::1/64',
    '::/129',
    'example.org',
    '10.0.0.0/8,,::1',
  ])('malformed CIDR in config ⇒ refuse to start: %j', (text) =>
    expect(parse(networks, text)).toBeUndefined(),
  );
});

describe('Redis URLs', () => {
  test.each([
    'redis://h',
    'redis://h/',
    'rediss://u:p%40w@[::1]:7/3',
    'redis+sentinel://a,b:1/main',
    'redis+sentinel://:pw@a/main/2',
    'redis+cluster://a:7000,b:7001',
    'redis://a:7000,b:7001',
    'rediss+cluster://a/0',
  ])('taken: %s', (text) => expect(parse(redisUrl, text)?.reveal()).toBe(text));

  test.each([
    'http://h',
    'redis://',
    'redis://a,',
    'redis://h/x',
    'redis://h/1/2',
    'redis://h:0',
    'redis://h:65536',
    'redis://:%f@h',
    'redis+sentinel://a',
    'redis+sentinel://a/main/x',
    'redis+cluster://a/1',
    'redis://a,b/1',
    'redis://h?x=1',
  ])('refused: %j', (text) => expect(parse(redisUrl, text)).toBeUndefined());
});
