import { createHash } from 'node:crypto';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { signJson } from '../../../src/matrix/signed-json.ts';
import { type SigningKey, signingKeyFromSeed } from '../../../src/matrix/signing-key.ts';
import type { SrvRecord } from '../../../src/platform/dns.ts';
import type { Destination, HttpsClient, HttpsRequest } from '../../../src/platform/guarded-agent.ts';
import type { HttpResponse } from '../../../src/platform/http-client.ts';
import type { Random } from '../../../src/platform/random.ts';

/** A key pair that is the same in every run. */
export function testKey(name: string): SigningKey {
  return signingKeyFromSeed(`ed25519:${name}`, createHash('sha256').update(name).digest());
}

/** `GET /_matrix/key/v2/server` of a server, signed with the first of its keys. */
export function keyAnswer(
  server: string,
  keys: readonly SigningKey[],
  validUntil: number,
  old: readonly { key: SigningKey; expiredAt: number }[] = [],
): JsonObject {
  const signer = keys[0];
  if (signer === undefined) throw new Error('a key answer needs a key');
  const listed = keys.map((key) => [key.keyId, { key: encodeBase64(key.publicKey) }]);
  const given = old.map(({ key, expiredAt }) => [
    key.keyId,
    { key: encodeBase64(key.publicKey), expired_ts: expiredAt },
  ]);
  const answer = {
    server_name: server,
    valid_until_ts: validUntil,
    verify_keys: Object.fromEntries(listed) as JsonObject,
    old_verify_keys: Object.fromEntries(given) as JsonObject,
  };
  return signJson(answer, server, signer);
}

export interface Asked {
  readonly destination: Destination;
  readonly request: HttpsRequest;
  readonly url: string;
}

/** HTTPS that asks nobody: the answers are given by a function, the questions are kept. */
export class FakeHttps implements HttpsClient {
  readonly asked: Asked[] = [];
  answer: (asked: Asked) => Promise<HttpResponse> | HttpResponse;

  constructor(answer: (asked: Asked) => Promise<HttpResponse> | HttpResponse) {
    this.answer = answer;
  }

  async request(destination: Destination, request: HttpsRequest): Promise<HttpResponse> {
    const url = `https://${request.headers?.host}${request.path}`;
    const asked = { destination, request, url };
    this.asked.push(asked);
    return this.answer(asked);
  }
}

export function response(status: number, body: unknown, headers: Record<string, string> = {}): HttpResponse {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return { status, headers, body: Buffer.from(text) };
}

/** DNS with the SRV records that it is given; every other name has none. */
export class FakeSrv {
  readonly asked: string[] = [];
  readonly records = new Map<string, SrvRecord[]>();

  async srv(name: string): Promise<SrvRecord[]> {
    this.asked.push(name);
    return this.records.get(name) ?? [];
  }
}

export const noRandom: Random = { bytes: (count) => new Uint8Array(count), below: () => 0 };
