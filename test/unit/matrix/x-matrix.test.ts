import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBase64, encodeBase64 } from '../../../src/matrix/base64.ts';
import { verifySignature } from '../../../src/matrix/ed25519.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { verifySignedJson } from '../../../src/matrix/signed-json.ts';
import { parseXMatrix, requestToVerify, signRequest, XMatrixError } from '../../../src/matrix/x-matrix.ts';
import { SPEC_KEY } from './spec-key.ts';

const sig = encodeBase64(new Uint8Array(64).fill(0xfb));
const read = { origin: 'a.example', destination: 'b.example', key: 'ed25519:k1', sig };
const request = {
  method: 'PUT',
  uri: '/_matrix/federation/v1/send/%21x?a=//&b',
  origin: 'a.example',
  destination: 'b.example',
};

test.each([
  ['plain', `X-Matrix origin="a.example",destination="b.example",key="ed25519:k1",sig="${sig}"`],
  ['unquoted values', `X-Matrix origin=a.example,destination=b.example,key=ed25519:k1,sig=${sig}`],
  [
    'upper-case param names',
    `X-Matrix ORIGIN="a.example",Destination=b.example,KEY="ed25519:k1",Sig="${sig}"`,
  ],
  ['scheme in another case', `x-matrix origin=a.example,destination=b.example,key=ed25519:k1,sig=${sig}`],
  [
    'backslash escapes in quotes',
    `X-Matrix origin="a\\.exampl\\e",destination="\\b.example",key="ed25519\\:k1",sig="${sig}"`,
  ],
  [
    'unknown param',
    `X-Matrix v="2",origin=a.example,x=",y=\\"",destination=b.example,key=ed25519:k1,sig=${sig}`,
  ],
  [
    'blanks around commas',
    `X-Matrix   origin="a.example" ,\t destination="b.example"\t,key = "ed25519:k1" , sig="${sig}" \t`,
  ],
  ['empty list elements', `X-Matrix ,origin=a.example,,destination=b.example, ,key=ed25519:k1,sig=${sig},`],
  ['another order', `X-Matrix sig=${sig},key=ed25519:k1,destination=b.example,origin=a.example`],
])('read: %s', (_name, header) => {
  expect(parseXMatrix(header)).toEqual(read);
});

test('missing destination (allowed)', () => {
  expect(parseXMatrix(`X-Matrix origin=a.example,key="ed25519:k1",sig="${sig}"`)).toEqual({
    ...read,
    destination: null,
  });
});

test('origin with port, IPv6, trailing dot, upper case', () => {
  for (const origin of ['a.example:8448', '[::1]:8448', '[::1]', 'a.example.', 'A.EXAMPLE']) {
    expect(parseXMatrix(`X-Matrix origin="${origin}",key="ed25519:1",sig="${sig}"`)?.origin).toBe(origin);
    expect(parseXMatrix(`X-Matrix origin=${origin},key=ed25519:1,sig=${sig}`)?.origin).toBe(origin);
  }
});

test('origin with IDN, 300 chars ⇒ refused', () => {
  for (const origin of ['bücher.example', 'a'.repeat(300), '', 'a b', 'a/b', 'a\u0000', '[::1']) {
    expect(() => parseXMatrix(`X-Matrix origin="${origin}",key="ed25519:1",sig="${sig}"`)).toThrow(
      XMatrixError,
    );
  }
  expect(() => parseXMatrix(`X-Matrix origin=a,destination="b c",key="ed25519:1",sig="${sig}"`)).toThrow(
    XMatrixError,
  );
});

test('`Bearer` on federation path, no header ⇒ not ours to read', () => {
  for (const header of [
    '',
    'Bearer abc',
    'X-MatrixX origin=a',
    'X-Matrix\torigin=a',
    `Basic X-Matrix ${sig}`,
  ]) {
    expect(parseXMatrix(header)).toBeNull();
  }
});

test('1 MB header ⇒ refused at once', () => {
  const parameter = `origin="${'\\a'.repeat(500_000)}"`;
  expect(() => parseXMatrix(`X-Matrix ${parameter}`)).toThrow('too long');
  expect(parseXMatrix(`Bearer ${'x'.repeat(1_000_000)}`)).toBeNull();
});

test.each([
  'X-Matrix',
  'X-Matrix ',
  'X-Matrix origin',
  'X-Matrix origin=',
  'X-Matrix origin="a',
  'X-Matrix origin="a"b',
  'X-Matrix origin=a"b"',
  'X-Matrix origin=a b',
  'X-Matrix =a',
  `X-Matrix origin=a,key=ed25519:1`,
  `X-Matrix origin=a,sig=${sig}`,
  `X-Matrix key=ed25519:1,sig=${sig}`,
  `X-Matrix origin=a,key=rsa:1,sig=${sig}`,
  `X-Matrix origin=a,key=ed25519:1,sig=AAAA`,
  `X-Matrix origin=a,key=ed25519:1,sig=!${sig}`,
  `X-Matrix origin=a,origin=b,key=ed25519:1,sig=${sig}`,
  `X-Matrix origin=a,ORIGIN=a,key=ed25519:1,sig=${sig}`,
])('cannot be read in one way: %s', (header) => {
  expect(() => parseXMatrix(header)).toThrow(XMatrixError);
});

test('whatever comes, it is read, not ours, or an XMatrixError', () => {
  const soup = fc
    .array(fc.constantFrom('origin', 'key', 'sig', '=', ',', '"', '\\', ' ', '\t', 'a', 'ed25519:1', sig), {
      maxLength: 30,
    })
    .map((parts) => `X-Matrix ${parts.join('')}`);
  fc.assert(
    fc.property(soup, (header) => {
      try {
        parseXMatrix(header);
      } catch (error) {
        expect(error).toBeInstanceOf(XMatrixError);
      }
    }),
  );
});

test('what is signed here has the plain form, is read back, and verifies', () => {
  const content = { pdus: [{ n: 1 }], é: '😀' };
  const header = signRequest({ ...request, content }, SPEC_KEY);
  expect(header).toMatch(
    /^X-Matrix origin="a\.example",destination="b\.example",key="ed25519:1",sig="[A-Za-z0-9+/]{86}"$/,
  );
  const parsed = parseXMatrix(header);
  const signed: JsonObject = {
    ...request,
    content,
    signatures: { 'a.example': { 'ed25519:1': parsed?.sig ?? '' } },
  };
  expect(verifySignedJson(signed, 'a.example', 'ed25519:1', SPEC_KEY.publicKey)).toBe(true);
});

test('body changed after signing, GET with body, another target, method or destination ⇒ not valid', () => {
  const header = parseXMatrix(signRequest({ ...request, content: { a: 1 } }, SPEC_KEY));
  const verifies = (change: object) =>
    verifySignature(
      SPEC_KEY.publicKey,
      Buffer.from(requestToVerify({ ...request, content: { a: 1 }, ...change })),
      decodeBase64(header?.sig ?? '') ?? new Uint8Array(),
    );
  expect(verifies({})).toBe(true);
  expect(verifies({ content: { a: 2 } })).toBe(false);
  expect(verifies({ content: {} })).toBe(false);
  expect(verifies({ method: 'GET' })).toBe(false);
  expect(verifies({ uri: request.uri.replace('%21', '!') })).toBe(false);
  expect(verifies({ destination: 'c.example' })).toBe(false);
  expect(verifies({ origin: 'c.example' })).toBe(false);
});

test('a request without a body is signed without content', () => {
  expect(requestToVerify(request)).toBe(
    `{"destination":"b.example","method":"PUT","origin":"a.example","uri":"${request.uri}"}`,
  );
  expect(requestToVerify({ ...request, content: {} })).toMatch(/^\{"content":\{\},/);
});
