import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBase64, decodeBase64Url, encodeBase64, encodeBase64Url } from '../../../src/matrix/base64.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

test.each([
  ['', ''],
  ['f', 'Zg'],
  ['fo', 'Zm8'],
  ['foo', 'Zm9v'],
  ['foob', 'Zm9vYg'],
  ['fooba', 'Zm9vYmE'],
  ['foobar', 'Zm9vYmFy'],
])('the specification: %j is %j', (text, encoded) => {
  expect(encodeBase64(bytes(text))).toBe(encoded);
  expect(Buffer.from(decodeBase64(encoded) ?? [])).toEqual(Buffer.from(text));
});

test('padding is accepted, in its place', () => {
  expect(decodeBase64('Zg==')).toEqual(Buffer.from('f'));
  expect(decodeBase64('Zm8=')).toEqual(Buffer.from('fo'));
  expect(decodeBase64('Zm8==')).toBeNull();
  expect(decodeBase64('Zg=')).toBeNull();
  expect(decodeBase64('=')).toBeNull();
});

test.each(['Z', 'Zm9vY', 'Zm 9v', 'Zm9v\n', 'Zm_v', 'Zm-v', 'é'])('not standard base64: %j', (text) => {
  expect(decodeBase64(text)).toBeNull();
});

test('spare bits in the last character do not matter', () => {
  expect(decodeBase64('Zh')).toEqual(Buffer.from('f'));
});

test('the two alphabets do not mix', () => {
  const raw = Uint8Array.of(0xfb, 0xff, 0xfe);
  expect(encodeBase64(raw)).toBe('+//+');
  expect(encodeBase64Url(raw)).toBe('-__-');
  expect(decodeBase64('-__-')).toBeNull();
  expect(decodeBase64Url('+//+')).toBeNull();
});

test('any bytes come back, from both alphabets', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (raw) => {
      expect(Buffer.from(decodeBase64(encodeBase64(raw)) ?? [])).toEqual(Buffer.from(raw));
      expect(Buffer.from(decodeBase64Url(encodeBase64Url(raw)) ?? [])).toEqual(Buffer.from(raw));
    }),
  );
});
