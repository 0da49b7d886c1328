import { isObject, type JsonObject } from '../matrix/json.ts';
import { HomeserverRefusal } from './homeserver.ts';
import { enc, errcodeOf, type HomeserverApi, objectOf } from './homeserver-api.ts';

/** The homeserver itself may ask another server first. */
const TIMEOUT_MS = 60_000;

/**
 * Resolves an alias; null when there is no such. Rejects with `HomeserverRefusal` (also where the alias's own
 * server is what failed) and `HomeserverDown`.
 */
export async function resolveAlias(
  api: HomeserverApi,
  alias: string,
): Promise<{ roomId: string; servers: string[] } | null> {
  const path = `/_matrix/client/v3/directory/room/${enc(alias)}`;
  const response = await api.sendPatiently({ method: 'GET', path, timeoutMs: TIMEOUT_MS });
  const { status } = response;
  if (status === 404 || status === 400) return null;
  if ((status === 502 || status === 504) && errcodeOf(response) !== null) {
    throw new HomeserverRefusal(status, response.body);
  }
  const { room_id: roomId, servers } = objectOf(response);
  if (typeof roomId !== 'string') return null;
  return {
    roomId,
    servers: Array.isArray(servers) ? servers.filter((server) => typeof server === 'string') : [],
  };
}

/**
 * Signing keys of a server by the homeserver's notary, unverified. The key ID and the time are always named:
 * with neither, Synapse gives what it happens to have and asks nobody.
 */
export async function notaryKeys(
  api: HomeserverApi,
  server: string,
  keyId: string,
  minimumValidUntil: number,
): Promise<JsonObject[]> {
  const wanted = { [server]: { [keyId]: { minimum_valid_until_ts: minimumValidUntil } } };
  const response = await api.sendPatiently({
    method: 'POST',
    path: '/_matrix/key/v2/query',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ server_keys: wanted }),
    timeoutMs: TIMEOUT_MS,
    repeatable: true,
  });
  const keys = objectOf(response).server_keys;
  return Array.isArray(keys) ? keys.filter(isObject) : [];
}
