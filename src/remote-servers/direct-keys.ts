import { isObject, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { HttpsClient } from '../platform/guarded-agent.ts';
import type { Route } from './server-resolver.ts';

const PATH = '/_matrix/key/v2/server';
const MAX_BYTES = 256 * 1024;

export class NoKeysError extends Error {
  override readonly name = 'NoKeysError';
}

/** Asks servers for their own keys: unsigned, unchecked. Rejects when there is no answer of the right form. */
export function directKeys(
  resolver: { resolve(server: string): Promise<Route[]> },
  https: HttpsClient,
): (server: string, timeoutMs: number, signal: AbortSignal) => Promise<JsonObject> {
  return async (server, timeoutMs, signal) => {
    let failure: unknown = new NoKeysError(`${server} has no address`);
    for (const route of await resolver.resolve(server)) {
      try {
        const { status, body } = await https.request(route, {
          method: 'GET',
          path: PATH,
          headers: { host: route.hostHeader, 'user-agent': 'matrix-peek-proxy' },
          timeoutMs,
          maxBytes: MAX_BYTES,
          signal,
        });
        // Signed JSON holds no floats.
        const answer = status === 200 ? parseJson(body, { strictNumbers: true }) : null;
        if (isObject(answer)) return answer;
        throw new NoKeysError(`${server} did not give its keys`);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  };
}
