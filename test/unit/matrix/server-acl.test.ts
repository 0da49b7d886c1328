import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { compileServerAcl, matchesGlob } from '../../../src/matrix/server-acl.ts';

const allows = (content: JsonObject | null, server: string) => compileServerAcl(content)(server);

test('no event: everybody is allowed', () => {
  expect(allows(null, 'any.example')).toBe(true);
});

test('deny before allow, anything else is denied', () => {
  const content = { allow: ['*.good.example', 'one.example'], deny: ['bad.good.example', '*evil*'] };
  expect(allows(content, 'a.good.example')).toBe(true);
  expect(allows(content, 'one.example')).toBe(true);
  expect(allows(content, 'bad.good.example')).toBe(false);
  expect(allows(content, 'an-evil-host.good.example')).toBe(false);
  expect(allows(content, 'good.example')).toBe(false);
  expect(allows(content, 'other.example')).toBe(false);
});

test('without a usable allow nobody is allowed', () => {
  for (const content of [{}, { allow: [] }, { allow: '*' }, { allow: null }, { allow: [1, null, {}] }]) {
    expect(allows(content, 'any.example')).toBe(false);
  }
});

test('malformed deny entries and lists do not count', () => {
  expect(allows({ allow: ['*'], deny: 'any.example' }, 'any.example')).toBe(true);
  expect(allows({ allow: ['*'], deny: [1, null, 'any.example'] }, 'any.example')).toBe(false);
  expect(allows({ allow: ['*'], deny: [1, null] }, 'any.example')).toBe(true);
});

test('ports are not looked at, case does not count', () => {
  const content = { allow: ['*'], deny: ['EVIL.example', '*.Evil.example'] };
  for (const server of ['evil.example', 'evil.example:8448', 'EVIL.EXAMPLE:1', 'sub.eVil.example:443']) {
    expect(allows(content, server)).toBe(false);
  }
  expect(allows({ allow: ['*'], deny: ['evil.example:8448'] }, 'evil.example:8448')).toBe(true);
});

test('IP literals', () => {
  const content = { allow: ['*'], allow_ip_literals: false };
  for (const server of ['1.2.3.4', '1.2.3.4:8448', '[::1]', '[2001:db8::1]:8448']) {
    expect(allows(content, server)).toBe(false);
    expect(allows({ allow: ['*'] }, server)).toBe(true);
    expect(allows({ allow: ['*'], allow_ip_literals: 'no' }, server)).toBe(true);
  }
  expect(allows(content, '1.2.3.4.example')).toBe(true);
});

test('what is no server name is not allowed', () => {
  for (const server of ['', 'a b', 'ü', 'x'.repeat(300)])
    expect(allows({ allow: ['*'] }, server)).toBe(false);
});

test('a list longer than an event can be lets nobody in', () => {
  expect(allows({ allow: ['*'], deny: ['x'.repeat(65_536)] }, 'a.example')).toBe(false);
});

test('the worst list that fits an event costs bounded time (CVE-2023-45129)', () => {
  const worst = `${'a*'.repeat(100)}b`;
  const deny = Array.from({ length: 300 }, (_, n) => `${worst}${n}`);
  const acl = compileServerAcl({ allow: ['*'], deny });
  const server = 'a'.repeat(230);
  const started = performance.now();
  expect(acl(server)).toBe(true);
  expect(performance.now() - started).toBeLessThan(1000);
});

test('globs match as the same regular expression does', () => {
  const part = fc.constantFrom('a', 'b', '.', '*', '?', '**');
  const meaning = new Map([
    ['*', '.*'],
    ['**', '.*'],
    ['?', '.'],
    ['.', '\\.'],
  ]);
  const letters = fc.constantFrom('a', 'b', '.');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), fc.array(letters, { maxLength: 10 }), (glob, text) => {
      const pattern = glob.map((p) => meaning.get(p) ?? p).join('');
      expect(matchesGlob(glob.join(''), text.join(''))).toBe(new RegExp(`^${pattern}$`).test(text.join('')));
    }),
  );
});

test('answers stay the same when they come from memory', () => {
  const acl = compileServerAcl({ allow: ['*.good.example'] });
  for (let n = 0; n < 2500; n++) {
    expect(acl(`s${n}.good.example`)).toBe(true);
    expect(acl(`s${n % 7}.bad.example`)).toBe(false);
  }
});
