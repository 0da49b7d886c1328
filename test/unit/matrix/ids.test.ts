import { expect, test } from 'vitest';
import {
  domainOf,
  isIpLiteral,
  isRoomAlias,
  isRoomId,
  isServerName,
  isUserId,
  parseServerName,
  serverNameOf,
} from '../../../src/matrix/ids.ts';

const HASH_ROOM = '!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM';

test.each([
  'matrix.org',
  'matrix.org:8888',
  '1.2.3.4',
  '1.2.3.4:1234',
  '[1234:5678::abcd]',
  '[1234:5678::abcd]:5678',
  '[::ffff:1.2.3.4]',
  'localhost',
  'MATRIX.ORG',
  'trailing.dot.',
  'xn--bcher-kva.example',
])('origin with port, IPv6, trailing dot, upper case: %s is a server name', (name) => {
  expect(isServerName(name)).toBe(true);
});

test.each([
  '',
  'bücher.example',
  'a'.repeat(300),
  `${'a'.repeat(254)}:8448`,
  'a:',
  'a:123456',
  'a:65536',
  'a:8448:8448',
  'a b',
  'a/b',
  'a_b',
  '[::1',
  '::1',
  '[12345::]',
  '[fe80::1%25eth0]',
  '[]',
  '256.1.1.1',
  'a\u0000',
  'a\n',
])('origin IDN, 300 chars: %j is no server name', (name) => {
  expect(isServerName(name)).toBe(false);
});

test('a server name is taken apart', () => {
  expect(parseServerName('[::1]:8448')).toEqual({ host: '[::1]', port: 8448 });
  expect(parseServerName('matrix.org')).toEqual({ host: 'matrix.org', port: null });
  expect(isIpLiteral('[::1]')).toBe(true);
  expect(isIpLiteral('10.0.0.1')).toBe(true);
  expect(isIpLiteral('10.0.0.1.example')).toBe(false);
});

test('user IDs, the historical ones too', () => {
  for (const id of ['@a:b', '@Ä ö/=+:b.example:8448', '@:b', '@a:[::1]', '@__proto__:b', '@\u0001:b']) {
    expect(isUserId(id), id).toBe(true);
  }
  for (const id of ['', '@', '@a', 'a:b', '@a:', '@a:b:c', '@a\u0000:b', '@\ud800:b', '!a:b', '@a:b c']) {
    expect(isUserId(id), JSON.stringify(id)).toBe(false);
  }
});

test('the limit is 255 bytes, not characters', () => {
  expect(isUserId(`@${'a'.repeat(252)}:b`)).toBe(true);
  expect(isUserId(`@${'a'.repeat(253)}:b`)).toBe(false);
  expect(isUserId(`@${'é'.repeat(126)}:b`)).toBe(true);
  expect(isUserId(`@${'é'.repeat(127)}:b`)).toBe(false);
});

test('room IDs with a domain, and since version 12 without one', () => {
  for (const id of ['!a:b', '!ä ß:b:80', HASH_ROOM]) expect(isRoomId(id), id).toBe(true);
  for (const id of ['!a', '!:b', HASH_ROOM.slice(0, -1), `${HASH_ROOM}A`, `!${'+'.repeat(43)}`, '#a:b']) {
    expect(isRoomId(id), id).toBe(false);
  }
});

test('room aliases', () => {
  expect(isRoomAlias('#a:b')).toBe(true);
  expect(isRoomAlias('#日本:b.example')).toBe(true);
  for (const id of ['#a', '#:b', '!a:b', '#a:b/c', '#a\u0000:b']) expect(isRoomAlias(id)).toBe(false);
});

test('the server of an identifier', () => {
  expect(serverNameOf('@a:b.example:8448')).toBe('b.example:8448');
  expect(serverNameOf('@a:[::1]:1')).toBe('[::1]:1');
  expect(serverNameOf(HASH_ROOM)).toBeNull();
  expect(serverNameOf('@a:')).toBeNull();
  expect(serverNameOf('@a:b c')).toBeNull();
});

test.each([
  ['a.b.Example.org.:8448', 'example.org'],
  ['example.org', 'example.org'],
  ['localhost:1', 'localhost'],
  ['1.2.3.4:8448', 'address'],
  ['[::1]', 'address'],
  ['no server', ''],
])('the domain of %s is %s', (server, domain) => {
  expect(domainOf(server)).toBe(domain);
});
