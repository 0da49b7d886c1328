import { beforeEach, describe, expect, test } from 'vitest';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { SigningKey } from '../../../src/matrix/signing-key.ts';
import { parseXMatrix, requestAsSent, requestToVerify, signRequest } from '../../../src/matrix/x-matrix.ts';
import { MatrixError } from '../../../src/platform/matrix-error.ts';
import { federationDomains } from '../../../src/remote-servers/federation-domains.ts';
import {
  type ReceivedRequest,
  RequestAuthenticator,
} from '../../../src/remote-servers/request-authenticator.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { testKey } from './fakes.ts';

const US = 'us.example';
const PEER = 'peer.example';
const key = testKey('a');
const second = testKey('b');
const target = '/_matrix/federation/v1/send/1%20?x=%7E&&y';

let published: Map<string, SigningKey>;
let lookedUp: [string, string, number, string][];
let clock: ManualClock;

beforeEach(() => {
  published = new Map([[`${PEER} ${key.keyId}`, key]]);
  lookedUp = [];
  clock = new ManualClock();
});

function authenticate(request: Partial<ReceivedRequest>, allowed: string[] | null = null): Promise<string> {
  const keyRing = {
    publicKey: async (server: string, keyId: string, at: number, use: string) => {
      lookedUp.push([server, keyId, at, use]);
      return published.get(`${server} ${keyId}`)?.publicKey ?? null;
    },
    known: () => null,
  };
  const authenticator = new RequestAuthenticator({
    serverName: US,
    domains: federationDomains(US, allowed),
    keyRing,
    clock,
  });
  return authenticator.authenticate({
    method: 'PUT',
    rawUrl: target,
    authorizationHeaders: [],
    content: { pdus: [] },
    ...request,
  });
}

interface Signed {
  readonly origin?: string;
  readonly destination?: string;
  readonly method?: string;
  readonly uri?: string;
  readonly content?: JsonObject | null;
}

function header(signed: Signed = {}, signer: SigningKey = key): string {
  const { content = { pdus: [] }, ...rest } = signed;
  const request = { method: 'PUT', uri: target, origin: PEER, destination: US, ...rest };
  return signRequest(content === null ? request : { ...request, content }, signer);
}

async function refusal(promise: Promise<string>): Promise<string> {
  try {
    return `accepted ${await promise}`;
  } catch (error) {
    if (!(error instanceof MatrixError)) throw error;
    return `${error.status} ${error.errcode}`;
  }
}
const REFUSED = '401 M_UNAUTHORIZED';

describe('accepted', () => {
  test('a request signed over method, raw target, origin, destination and body', async () => {
    expect(await authenticate({ authorizationHeaders: [header()] })).toBe(PEER);
    expect(lookedUp).toEqual([[PEER, key.keyId, clock.now(), 'request']]);
  });

  test('unquoted values, upper-case param names, backslash escapes in quotes, unknown param', async () => {
    const { sig } = parseXMatrix(header()) ?? expect.fail();
    const forms = [
      `X-Matrix origin=${PEER},key=ed25519:a,sig=${sig},destination=${US}`,
      `x-matrix ORIGIN="${PEER}", Key="ed25519:a", SIG="${sig}", Destination="${US}"`,
      `X-Matrix origin="peer\\.example",key="ed25519\\:a",sig="${sig}",destination="us.example"`,
      `X-Matrix origin="${PEER}",key="ed25519:a",sig="${sig}",extra="a,b=\\"c",destination="${US}"`,
    ];
    for (const form of forms) expect(await authenticate({ authorizationHeaders: [form] }), form).toBe(PEER);
  });

  test('missing destination (allowed): we are it', async () => {
    const plain = header().replace(`destination="${US}",`, '');
    expect(plain).not.toContain('destination');
    expect(await authenticate({ authorizationHeaders: [plain] })).toBe(PEER);
  });

  test('two X-Matrix headers of one origin, of which one verifies, beside another scheme', async () => {
    const authorizationHeaders = ['Bearer token', header({}, second), header()];
    expect(await authenticate({ authorizationHeaders })).toBe(PEER);
  });

  test('GET without body; origin with port, IPv6, IPv4', async () => {
    for (const origin of ['peer.example:8448', '[2001:db8::1]:443', '192.0.2.1']) {
      published.set(`${origin} ${key.keyId}`, key);
      const authorizationHeaders = [header({ method: 'GET', origin, content: null })];
      expect(await authenticate({ method: 'GET', authorizationHeaders, content: undefined })).toBe(origin);
    }
  });

  test('GET with body: the body is signed too', async () => {
    const withBody = [header({ method: 'GET' })];
    expect(await authenticate({ method: 'GET', authorizationHeaders: withBody })).toBe(PEER);
    const without = [header({ method: 'GET', content: null })];
    expect(await refusal(authenticate({ method: 'GET', authorizationHeaders: without }))).toBe(REFUSED);
  });
});

describe('401 M_UNAUTHORIZED', () => {
  const cases: [string, () => Partial<ReceivedRequest>][] = [
    ['no header', () => ({})],
    ['Bearer on federation path', () => ({ authorizationHeaders: ['Bearer abc'] })],
    ['body changed after signing', () => ({ authorizationHeaders: [header()], content: { pdus: [1] } })],
    ['body taken away', () => ({ authorizationHeaders: [header()], content: undefined })],
    ['another method', () => ({ authorizationHeaders: [header()], method: 'POST' })],
    ['the target decoded', () => ({ authorizationHeaders: [header()], rawUrl: decodeURI(target) })],
    ['the query left out', () => ({ authorizationHeaders: [header()], rawUrl: target.split('?')[0] ?? '' })],
    [
      'destination of another server',
      () => ({ authorizationHeaders: [header({ destination: 'them.example' })] }),
    ],
    ['origin = us', () => ({ authorizationHeaders: [header({ origin: US })] })],
    ['a key that is not to be had', () => ({ authorizationHeaders: [header({}, second)] })],
    [
      'a signature by another key',
      () => ({ authorizationHeaders: [header({}, second).replace(':b', ':a')] }),
    ],
    ['1 MB header', () => ({ authorizationHeaders: [`${header()},x="${'a'.repeat(1_000_000)}"`] })],
    ['twenty headers', () => ({ authorizationHeaders: Array(20).fill(header()) })],
    ['a parameter given twice', () => ({ authorizationHeaders: [`${header()},origin="evil.example"`] })],
    [
      'a body of floats beyond JSON',
      () => ({ authorizationHeaders: [header()], content: { a: Number.NaN } }),
    ],
  ];
  test.each(cases)('%s', async (_, request) => {
    published.set(`${US} ${key.keyId}`, key);
    expect(await refusal(authenticate(request()))).toBe(REFUSED);
  });

  test('two X-Matrix headers, different origins, though both verify', async () => {
    published.set(`two.example ${second.keyId}`, second);
    const authorizationHeaders = [header(), header({ origin: 'two.example' }, second)];
    expect(await refusal(authenticate({ authorizationHeaders }))).toBe(REFUSED);
    expect(lookedUp).toEqual([]);
  });

  test('origin with IDN, 300 chars, blanks or a path ⇒ 401, nothing is looked up', async () => {
    for (const origin of ['bücher.example', `${'a'.repeat(300)}.example`, 'a b', 'a/b', '', '__proto__']) {
      const authorizationHeaders = [header().replace(PEER, origin)];
      expect(await refusal(authenticate({ authorizationHeaders })), origin).toBe(REFUSED);
    }
    expect(lookedUp).toEqual([]);
  });

  test('origin with trailing dot, upper case: another name, with keys of its own', async () => {
    for (const origin of ['PEER.example', 'peer.example.']) {
      expect(await refusal(authenticate({ authorizationHeaders: [header({ origin })] }))).toBe(REFUSED);
    }
    expect(lookedUp.map(([server]) => server)).toEqual(['PEER.example', 'peer.example.']);
  });

  test('a server that is not on the list, before its key is looked up', async () => {
    const request = { authorizationHeaders: [header()] };
    expect(await refusal(authenticate(request, ['friend.example']))).toBe(REFUSED);
    expect(lookedUp).toEqual([]);
    expect(await authenticate(request, ['friend.example', PEER])).toBe(PEER);
  });
});

describe('a body that is canonical JSON as it came', () => {
  /** Signed over these very bytes, whatever a parser makes of them. */
  function signedAsSent(text: string, signer = key): string {
    const request = { method: 'PUT', uri: target, origin: PEER, destination: US };
    const sig = encodeBase64(signer.sign(requestAsSent(request, Buffer.from(text))));
    return `X-Matrix origin="${PEER}",destination="${US}",key="${signer.keyId}",sig="${sig}"`;
  }
  const received = (text: string, authorization: string) =>
    authenticate({
      authorizationHeaders: [authorization],
      content: JSON.parse(text),
      bytes: Buffer.from(text),
    });

  test.each([
    ['plain', '{"pdus":[]}'],
    ['with an event nested 5 000 deep', `{"pdus":[${'['.repeat(5000)}${']'.repeat(5000)}]}`],
    ['with a float as Python writes it', '{"pdus":[{"a":1.0,"b":1e+16}]}'],
    ['with an integer beyond 2^53', '{"pdus":[{"a":9007199254740993}]}'],
  ])('%s ⇒ its signer', async (_, text) => {
    expect(await received(text, signedAsSent(text))).toBe(PEER);
    expect(lookedUp).toHaveLength(1);
  });

  test('is what canonical JSON makes of the parsed one', () => {
    const request = { method: 'PUT', uri: '/a"b', origin: PEER, destination: US };
    expect(Buffer.from(requestAsSent(request, Buffer.from('{"a":1,"b":"ü"}'))).toString()).toBe(
      requestToVerify({ ...request, content: { b: 'ü', a: 1 } }),
    );
  });

  test('another order and blanks, signed over the canonical form ⇒ its signer', async () => {
    const text = '{ "b": 1,\n "a": 2 }';
    expect(await received(text, header({ content: { a: 2, b: 1 } }))).toBe(PEER);
  });

  test.each([
    ['changed after signing', '{"pdus":[1]}', '{"pdus":[2]}'],
    ['that ends what is signed early', '{"pdus":[]}', '{"pdus":[]},"destination":"us.example"'],
  ])('%s ⇒ 401', async (_, signed, sent) => {
    const authorization = signedAsSent(signed);
    const content = { pdus: [2] };
    const request = authenticate({
      authorizationHeaders: [authorization],
      content,
      bytes: Buffer.from(sent),
    });
    expect(await refusal(request)).toBe(REFUSED);
  });

  test('nested too deep to be written anew, and signed over something else ⇒ 401', async () => {
    const text = `{"pdus":[${'['.repeat(5000)}${']'.repeat(5000)}]}`;
    expect(await refusal(received(text, header()))).toBe(REFUSED);
  });
});
