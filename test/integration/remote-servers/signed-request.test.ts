import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { parseJson } from '../../../src/matrix/json-scan.ts';
import { addressGuard, parseCidrs } from '../../../src/platform/address-guard.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { systemDns } from '../../../src/platform/dns.ts';
import { GuardedAgent } from '../../../src/platform/guarded-agent.ts';
import { MatrixError } from '../../../src/platform/matrix-error.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { directKeys } from '../../../src/remote-servers/direct-keys.ts';
import { federationDomains } from '../../../src/remote-servers/federation-domains.ts';
import { FederationKeyRing } from '../../../src/remote-servers/key-ring.ts';
import { RequestAuthenticator } from '../../../src/remote-servers/request-authenticator.ts';
import { ServerHttp } from '../../../src/remote-servers/server-http.ts';
import { ServerResolver } from '../../../src/remote-servers/server-resolver.ts';
import { SignedClient } from '../../../src/remote-servers/signed-client.ts';
import { SrvTargets } from '../../../src/remote-servers/srv-targets.ts';
import { WellKnown } from '../../../src/remote-servers/well-known.ts';
import { testCertificates } from '../../support/certificates.ts';
import { keyAnswer, testKey } from '../../unit/remote-servers/fakes.ts';
import { startTlsPeer, type TlsPeer } from './tls-peer.ts';

const clock = systemClock;
const senderKey = testKey('sender');
const receiverKey = testKey('receiver');

let agent: GuardedAgent;
let servers: ServerHttp;
let sender: TlsPeer;
let receiver: TlsPeer;
let keysServed = 0;
let authenticator: RequestAuthenticator;

const senderName = () => `localhost:${sender.port}`;
const receiverName = () => `127.0.0.1:${receiver.port}`;

beforeAll(async () => {
  const made = await testCertificates();
  const identity = { cert: await readFile(made.certificate), key: await readFile(made.key) };
  const dns = systemDns();
  agent = new GuardedAgent({
    guard: addressGuard(parseCidrs('127.0.0.0/8, ::1')),
    dns,
    extraCa: await readFile(made.ca, 'utf8'),
  });
  const wellKnown = new WellKnown(agent, clock);
  const srv = new SrvTargets({ dns, clock, random: systemRandom });
  servers = new ServerHttp({ resolver: new ServerResolver({ wellKnown, srv }), https: agent, clock });
  sender = await startTlsPeer(identity, (_req, res) => {
    keysServed++;
    res.end(JSON.stringify(keyAnswer(senderName(), [senderKey], Date.now() + 60_000)));
  });
  receiver = await startTlsPeer(identity, async (req, res) => {
    try {
      const origin = await authenticator.authenticate(await received(req));
      res.end(JSON.stringify({ origin, target: req.url }));
    } catch (error) {
      const refusal = error instanceof MatrixError ? error : expect.fail();
      res.writeHead(refusal.status).end(JSON.stringify(refusal.body()));
    }
  });
  const keyRing = new FederationKeyRing({
    serverName: receiverName(),
    ownKey: receiverKey,
    notary: async () => [],
    direct: directKeys(servers),
    clock,
    logger: pino({ level: 'silent' }),
    metrics: createMetrics(),
  });
  const domains = federationDomains(receiverName());
  authenticator = new RequestAuthenticator({ serverName: receiverName(), domains, keyRing, clock });
});

afterAll(async () => {
  await agent.close();
  await sender.close();
  await receiver.close();
});

async function received(req: IncomingMessage) {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const authorizationHeaders = req.headersDistinct.authorization ?? [];
  const content = body.length === 0 ? undefined : (parseJson(body) as JsonObject);
  return { method: req.method ?? '', rawUrl: req.url ?? '', authorizationHeaders, content };
}

function clientSigningWith(signingKey: typeof senderKey, serverName = senderName()): SignedClient {
  const domains = federationDomains(serverName);
  const deps = { serverName, signingKey, domains, servers, clock, random: systemRandom };
  return new SignedClient({ ...deps, metrics: createMetrics() });
}

const bounds = { timeoutMs: 5000, maxBytes: 10_000 };

describe('from the signature of one server to the authentication at the other, over TLS', () => {
  test('requests with and without body are taken for what they are; the key is fetched once', async () => {
    const client = clientSigningWith(senderKey);
    const path = '/_matrix/federation/v1/peek/!r%3Ax/a%20b?ver=1&ver=12&&%7E';
    const body = { pdus: [{ content: { body: 'ü😀\u2028', n: -5 } }], '': null };
    const answer = { origin: senderName(), target: path };
    expect(await client.request(receiverName(), { method: 'PUT', path, body, ...bounds })).toEqual(answer);
    expect(await client.request(receiverName(), { method: 'GET', path, ...bounds })).toEqual(answer);
    expect(await client.request(receiverName(), { method: 'DELETE', path, ...bounds })).toEqual(answer);
    expect(await client.request(receiverName(), { method: 'POST', path, body: {}, ...bounds })).toEqual(
      answer,
    );
    expect(keysServed).toBe(1);
  });

  test('a signature of another key ⇒ 401 M_UNAUTHORIZED', async () => {
    const forged = { ...testKey('forger'), keyId: senderKey.keyId };
    const request = clientSigningWith(forged).request(receiverName(), {
      method: 'GET',
      path: '/x',
      ...bounds,
    });
    await expect(request).rejects.toMatchObject({ status: 401, errcode: 'M_UNAUTHORIZED' });
  });

  test('a name whose server serves keys of another name ⇒ 401', async () => {
    const client = clientSigningWith(senderKey, `127.0.0.1:${sender.port}`);
    const request = client.request(receiverName(), { method: 'GET', path: '/x', ...bounds });
    await expect(request).rejects.toMatchObject({ status: 401, errcode: 'M_UNAUTHORIZED' });
  });
});
