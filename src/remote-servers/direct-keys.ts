import { isObject, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { HttpResponse } from '../platform/http-client.ts';
import type { ServerHttp } from './server-http.ts';

const PATH = '/_matrix/key/v2/server';
/** A hundred keys take some 15 KiB. */
const MAX_BYTES = 64 * 1024;

export class NoKeysError extends Error {
  override readonly name = 'NoKeysError';
}

/** Asks servers for their own keys: unsigned, unchecked. Rejects when there is no answer of the right form. */
export function directKeys(
  servers: Pick<ServerHttp, 'request'>,
): (server: string, timeoutMs: number, signal: AbortSignal) => Promise<JsonObject> {
  return async (server, timeoutMs, signal) => {
    const answer = await servers.request(server, {
      method: 'GET',
      path: PATH,
      headers: { 'user-agent': 'matrix-peek-proxy' },
      timeoutMs,
      maxBytes: MAX_BYTES,
      signal,
    });
    const keys = parsed(answer);
    if (keys === null) throw new NoKeysError(`${server} did not give its keys`);
    return keys;
  };
}

/** Signed JSON holds no floats. */
function parsed({ status, body }: HttpResponse): JsonObject | null {
  if (status !== 200) return null;
  const answer = parseJson(body, { strictNumbers: true });
  return isObject(answer) ? answer : null;
}
