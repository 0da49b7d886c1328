import { readFile } from 'node:fs/promises';
import { request } from 'undici';
import type { Json } from '../../src/matrix/json.ts';
import { parseSigningKeys, type SigningKey } from '../../src/matrix/signing-key.ts';
import { signRequest } from '../../src/matrix/x-matrix.ts';
import type { Site } from '../support/federation.ts';

export interface ToSign {
  readonly method: string;
  readonly uri: string;
  readonly from: Pick<Site, 'serverName' | 'proxyOptions'>;
  /** A server name. */
  readonly to: string;
  readonly content?: Json;
}

/** The `Authorization` header of a server that asks another one, with its real signing key. */
export async function authorizationOf(toSign: ToSign): Promise<string> {
  const { method, uri, from, to, content } = toSign;
  const signed = { method, uri, origin: from.serverName, destination: to };
  return signRequest({ ...signed, ...(content !== undefined && { content }) }, await keyOf(from));
}

export async function keyOf(site: Pick<Site, 'proxyOptions'>): Promise<SigningKey> {
  const [key] = parseSigningKeys(await readFile(site.proxyOptions.signingKeyPath, 'utf8'));
  if (key === undefined) throw new Error('The site has no signing key');
  return key;
}

/** The answer to a body of any bytes; `errcode` is null where there is none. */
export async function sendBytes(
  origin: string,
  method: string,
  target: string,
  headers: Readonly<Record<string, string>>,
  body: string | null,
): Promise<{ status: number; errcode: unknown; text: string }> {
  const response = await request(origin + target, {
    method,
    reset: true,
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
  const text = await response.body.text();
  return { status: response.statusCode, errcode: errcodeIn(text), text };
}

function errcodeIn(text: string): unknown {
  try {
    return (JSON.parse(text) as { errcode?: unknown }).errcode ?? null;
  } catch {
    return null;
  }
}
