import { afterAll, beforeAll, expect, it } from 'vitest';
import { signingKeyFromSeed } from '../../src/matrix/signing-key.ts';
import { signRequest } from '../../src/matrix/x-matrix.ts';
import { enc, type MatrixClient } from '../support/client.ts';
import { send } from '../support/http.ts';
import { newUser } from './accounts.ts';
import { authorizationOf, keyOf, sendBytes } from './federation-requests.ts';
import { startFollowing } from './follower.ts';
import { peekCounts } from './metrics.ts';
import { forEachStore, type StoredPair } from './stores.ts';

const deep = (levels: number) => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`;

/** Bodies that Matrix does not know. */
const BAD_BODIES: readonly [what: string, body: string, status: number, errcode: string][] = [
  ['no body', '', 400, 'M_NOT_JSON'],
  ['half an object', '{"a":', 400, 'M_NOT_JSON'],
  ['an array', '[]', 400, 'M_BAD_JSON'],
  ['5 000 levels', deep(5_000), 400, 'M_BAD_JSON'],
  ['a number without end', '{"a":1e400}', 400, 'M_BAD_JSON'],
  ['more than a PDU may weigh', JSON.stringify({ a: 'x'.repeat(70_000) }), 413, 'M_TOO_LARGE'],
];

forEachStore((_store, { startPairOnStore }) => {
  let pair: StoredPair;
  let alice: MatrixClient;
  let roomId: string;
  beforeAll(async () => {
    pair = await startPairOnStore();
    alice = await newUser(pair.a, 'alice');
    roomId = await alice.createWorldReadableRoom();
  });
  afterAll(() => pair?.stop());

  const peekUri = (peekId: string) =>
    `/_matrix/federation/v1/peek/${enc(roomId)}/${peekId}?ver=${Array.from({ length: 12 }, (_, i) => i + 1).join('&ver=')}`;

  it('Unauthenticated, forged, replayed-to-another-URI and mis-addressed peeks get 401 M_UNAUTHORIZED', async () => {
    const [uri, from, to] = [peekUri('peekpeek'), pair.b, pair.a.serverName];
    const toSign = { method: 'PUT', uri, from, to, content: {} };
    const good = await authorizationOf(toSign);
    const { keyId } = await keyOf(from);
    const forger = signingKeyFromSeed(keyId, new Uint8Array(32).fill(7));
    const forged = { method: 'PUT', uri, origin: from.serverName, destination: to, content: {} };
    const cases: readonly [what: string, authorization: string | null, body: string][] = [
      ['unauthenticated', null, '{}'],
      ['a token of a client', `Bearer ${alice.token}`, '{}'],
      ['no signature', good.replace(/,sig="[^"]*"/, ''), '{}'],
      ['forged', signRequest(forged, forger), '{}'],
      ['of another origin', good.replace(from.serverName, 'localhost:1'), '{}'],
      ['replayed to another URI', await authorizationOf({ ...toSign, uri: peekUri('otherone') }), '{}'],
      ['replayed with another method', await authorizationOf({ ...toSign, method: 'DELETE' }), '{}'],
      ['replayed with another body', good, '{"a":1}'],
      ['addressed to another server', await authorizationOf({ ...toSign, to: 'localhost:1' }), '{}'],
    ];
    const before = await peekCounts(pair.a);
    for (const [what, authorization, body] of cases) {
      const headers = authorization === null ? {} : { authorization };
      const answer = await sendBytes(pair.a.url, 'PUT', uri, headers, body);
      expect([what, answer.status, answer.errcode]).toEqual([what, 401, 'M_UNAUTHORIZED']);
    }
    expect(await peekCounts(pair.a)).toEqual(before);

    // The same request, as it should be, is served.
    const served = await sendBytes(pair.a.url, 'PUT', uri, { authorization: good }, '{}');
    expect(served.status).toBe(200);
    expect((await peekCounts(pair.a)).inbound).toBe(before.inbound + 1);
    const removal = { method: 'DELETE', uri: peekUri('peekpeek'), from, to };
    const authorization = await authorizationOf(removal);
    expect((await sendBytes(pair.a.url, 'DELETE', uri, { authorization }, null)).status).toBe(200);
    expect(await peekCounts(pair.a)).toEqual(before);
  });

  it('Peeks that are not JSON, too large, too deep or have bad numbers are refused', async () => {
    const before = await peekCounts(pair.a);
    const uri = peekUri('badbodys');
    const to = pair.a.serverName;
    const authorization = await authorizationOf({ method: 'PUT', uri, from: pair.b, to, content: {} });
    for (const [what, body, status, errcode] of BAD_BODIES) {
      const answer = await sendBytes(pair.a.url, 'PUT', uri, { authorization }, body);
      expect([what, answer.status, answer.errcode]).toEqual([what, status, errcode]);
    }
    expect(await peekCounts(pair.a)).toEqual(before);
  });

  it('The same on /send goes to the homeserver untouched and its answer stands', async () => {
    // B peeks through A, so B's proxy does look into what A sends.
    const bob = await newUser(pair.b, 'bob');
    await startFollowing(bob, roomId, [pair.a.serverName]);
    const [from, to] = [pair.a, pair.b.serverName];
    const now = Date.now();
    const transaction = (n: number) => `/_matrix/federation/v1/send/bad-${now}-${n}`;
    const content = { origin: from.serverName, origin_server_ts: now, pdus: [], edus: [] };
    const good = JSON.stringify(content);
    const sign = (uri: string, addressee = to) =>
      authorizationOf({ method: 'PUT', uri, from, to: addressee, content });

    const cases: [what: string, uri: string, authorization: string | null, body: string][] = [
      ['unauthenticated', transaction(1), null, good],
      ['replayed to another URI', transaction(2), await sign(transaction(1)), good],
      ['mis-addressed', transaction(3), await sign(transaction(3), 'localhost:1'), good],
      ['with another body', transaction(4), await sign(transaction(4)), '{"pdus":[]}'],
    ];
    for (const [n, [what, body]] of BAD_BODIES.entries()) {
      const uri = transaction(10 + n);
      cases.push([what, uri, await sign(uri), body]);
    }
    for (const [what, uri, authorization, body] of cases) {
      const headers = authorization === null ? {} : { authorization };
      const proxied = await sendBytes(pair.b.url, 'PUT', uri, headers, body);
      const bare = await sendBytes(pair.b.synapse.url, 'PUT', uri, headers, body);
      expect(bare.status).toBeGreaterThanOrEqual(400);
      expect([what, proxied.status, proxied.text]).toEqual([what, bare.status, bare.text]);
    }
  });

  it("A wrong access token on /peek gets the homeserver's own 401", async () => {
    const target = `/_matrix/client/v3/peek/${enc(roomId)}`;
    const before = await peekCounts(pair.a);
    for (const headers of [{}, { authorization: 'Bearer wrong' }]) {
      const own = await send(pair.a.synapse.url, 'GET', '/_matrix/client/v3/account/whoami', { headers });
      const answer = await send(pair.a.url, 'POST', target, { headers, body: {} });
      expect(own.status).toBe(401);
      expect([answer.status, answer.text]).toEqual([own.status, own.text]);
    }
    expect(await peekCounts(pair.a)).toEqual(before);
  });
});
