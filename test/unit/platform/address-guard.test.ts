import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressGuard, MalformedCidrError, parseCidrs } from '../../../src/platform/address-guard.ts';

const guard = addressGuard();

/** Network, an address inside, the addresses just outside it that are themselves public (if any). */
const denied: [string, string[], string[]][] = [
  ['0/8', ['0.0.0.0', '0.255.255.255'], ['1.0.0.0']],
  ['10/8', ['10.0.0.0', '10.255.255.255'], ['9.255.255.255', '11.0.0.0']],
  ['100.64/10', ['100.64.0.0', '100.127.255.255'], ['100.63.255.255', '100.128.0.0']],
  ['127/8', ['127.0.0.1', '127.255.255.255'], ['126.255.255.255', '128.0.0.0']],
  ['169.254/16', ['169.254.169.254', '169.254.0.0'], ['169.253.255.255', '169.255.0.0']],
  ['172.16/12', ['172.16.0.0', '172.31.255.255'], ['172.15.255.255', '172.32.0.0']],
  ['192.0.0/24', ['192.0.0.0', '192.0.0.255'], ['191.255.255.255', '192.0.1.0']],
  ['192.0.2/24', ['192.0.2.0', '192.0.2.255'], ['192.0.1.255', '192.0.3.0']],
  ['192.88.99/24', ['192.88.99.0', '192.88.99.255'], ['192.88.98.255', '192.88.100.0']],
  ['192.168/16', ['192.168.0.0', '192.168.255.255'], ['192.167.255.255', '192.169.0.0']],
  ['198.18/15', ['198.18.0.0', '198.19.255.255'], ['198.17.255.255', '198.20.0.0']],
  ['198.51.100/24', ['198.51.100.0', '198.51.100.255'], ['198.51.99.255', '198.51.101.0']],
  ['203.0.113/24', ['203.0.113.0', '203.0.113.255'], ['203.0.112.255', '203.0.114.0']],
  ['224/4', ['224.0.0.0', '239.255.255.255'], ['223.255.255.255']],
  ['240/4', ['240.0.0.0', '255.255.255.255'], []],
  ['::', ['::', '0:0:0:0:0:0:0:0'], []],
  ['::1', ['::1', '0:0:0:0:0:0:0:1'], []],
  ['::ffff:0:0/96', ['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:8.8.8.8'], []],
  ['::ffff:0:0:0/96', ['::ffff:0:7f00:1', '::ffff:0:10.0.0.1'], []],
  ['64:ff9b::/96', ['64:ff9b::7f00:1', '64:ff9b::8.8.8.8'], []],
  ['64:ff9b:1::/48', ['64:ff9b:1::', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'], ['64:ff9b:2::']],
  ['2001::/32', ['2001::', '2001:0:ffff:ffff:ffff:ffff:ffff:ffff'], ['2001:1::']],
  ['2001:2::/48', ['2001:2::1', '2001:2:0:ffff::'], ['2001:2:1::']],
  ['2001:10::/28', ['2001:10::', '2001:1f:ffff::'], ['2001:f::']],
  ['2001:20::/28', ['2001:20::', '2001:2f:ffff::'], ['2001:30::']],
  ['2001:db8::/32', ['2001:db8::', '2001:db8:ffff::1'], ['2001:db7::', '2001:db9::']],
  ['2002::/16', ['2002:7f00:1::', '2002:808:808::'], ['2003::']],
  ['3fff::/20', ['3fff::', '3fff:fff:ffff::'], ['3fff:1000::']],
  ['5f00::/16', ['5f00::1'], ['5eff::1', '5f01::1']],
  ['100::/64', ['100::1', '100:0:0:1::1'], ['100:0:0:2::1']],
  ['fc00::/7', ['fc00::', 'fdff::1'], ['fbff::1', 'fe00::1']],
  ['fe80::/10', ['fe80::1', 'febf::1', 'fe80::1%eth0'], []],
  ['fec0::/10', ['fec0::1', 'feff::1'], []],
  ['ff00::/8', ['ff00::', 'ff02::1'], []],
];

describe('malformed CIDR in config ⇒ refuse to start; the shipped default denies each of', () => {
  test.each(denied)(
    '%s, from its first address to its last, and not its neighbours',
    (_, inside, outside) => {
      for (const address of inside) expect(guard.permits(address), address).toBe(false);
      for (const address of outside) expect(guard.permits(address), address).toBe(true);
    },
  );
});

test('public addresses are permitted, as addresses and as hosts', () => {
  for (const address of ['8.8.8.8', '1.1.1.1', '2a00:1450:4001:81b::200e', '2606:4700::1111']) {
    expect(guard.permits(address), address).toBe(true);
  }
  expect(guard.permitsHost('8.8.8.8')).toBe(true);
  expect(guard.permitsHost('[2606:4700::1111]')).toBe(true);
  expect(guard.permitsHost('example.org')).toBe(true);
  expect(guard.permitsHost('0x7f.example.org.')).toBe(true);
});

test('127.0.0.1, [::1], [::ffff:127.0.0.1], 0.0.0.0, 169.254.169.254, 2130706433, 0x7f.1, [64:ff9b::7f00:1], [2002:7f00:1::] as hosts ⇒ refused', () => {
  const hosts = ['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '169.254.169.254', '2130706433'];
  hosts.push(
    '0x7f.1',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '017700000001',
    '127.1',
    '127.0.0.1.',
    '0X7F000001',
  );
  hosts.push('[fe80::1%1]', '[127.0.0.1]', '[]', '1.2.3.0x');
  for (const host of hosts) expect(guard.permitsHost(host), host).toBe(false);
});

test('odd ways to write an address are no addresses', () => {
  for (const text of [
    '',
    '2130706433',
    '0x7f.1',
    '8.8',
    '08.8.8.8',
    '[::1]',
    'localhost',
    ' 8.8.8.8',
    '::g',
  ]) {
    expect(guard.permits(text), text).toBe(false);
  }
});

test('what the allow list names is let through, and nothing beside it', () => {
  const lenient = addressGuard(parseCidrs('127.0.0.0/8, fd00::/8'));
  expect(lenient.permits('127.0.0.1')).toBe(true);
  expect(lenient.permits('fd12::1')).toBe(true);
  expect(lenient.permitsHost('[fd12::1]')).toBe(true);
  for (const address of ['10.0.0.1', '::1', 'fc00::1', '::ffff:127.0.0.1']) {
    expect(lenient.permits(address), address).toBe(false);
  }
  expect(lenient.permitsHost('2130706433')).toBe(false);
});

test('an allowed translation prefix opens no way to a refused IPv4 address', () => {
  const nat64 = addressGuard(parseCidrs('64:ff9b::/96 ::ffff:0:0/96 2002::/16'));
  expect(nat64.permits('64:ff9b::808:808')).toBe(true);
  expect(nat64.permits('::ffff:8.8.8.8')).toBe(true);
  expect(nat64.permits('2002:808:808::1')).toBe(true);
  for (const address of ['64:ff9b::7f00:1', '::ffff:10.0.0.1', '2002:7f00:1::', '2002:a9fe:a9fe::']) {
    expect(nat64.permits(address), address).toBe(false);
  }
});

test('malformed CIDR in config ⇒ refused by name', () => {
  for (const text of [
    '10.0.0.0/33',
    '10/8',
    '10.0.0.1/8',
    'fd00::/129',
    'example.org',
    '10.0.0.0/08',
    '/8',
  ]) {
    expect(() => parseCidrs(`127.0.0.0/8,${text}`), text).toThrow(MalformedCidrError);
  }
  expect(() => parseCidrs('127.0.0.1/8/9')).toThrow('127.0.0.1/8/9');
  expect(parseCidrs(' ')).toEqual([]);
  expect(parseCidrs('0.0.0.0/0,::/0').length).toBe(2);
});

test('a bare address allows itself alone', () => {
  const one = addressGuard(parseCidrs('127.0.0.1,::1'));
  expect([one.permits('127.0.0.1'), one.permits('127.0.0.2'), one.permits('::1')]).toEqual([
    true,
    false,
    true,
  ]);
});

test('no text makes the guard throw, and none but a plain IP address is permitted as one', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.ipV4Extended(), fc.ipV6(), fc.ipV4()), (text) => {
      guard.permitsHost(text);
      return !guard.permits(text) || /^[0-9a-fA-F:.]+$/.test(text);
    }),
  );
});
