import { isObject, type Json } from '../../matrix/json.ts';
import type { RemoteServers } from '../../remote-servers/remote-servers.ts';

/** An auth chain of more than this is cut: what is missing of it is asked for one by one, or not had. */
const MOST_CHAIN = 2_000;
const MOST_CHAIN_BYTES = 8 * 1024 * 1024;
const MOST_EVENT_BYTES = 2 * 65_536;
const ANSWER_MS = 5_000;
/** The IDs of 200 000 events and of as many in their auth chain, and some to spare. */
const MOST_STATE_IDS_BYTES = 32 * 1024 * 1024;
const STATE_IDS_MS = 15_000;

/** A server that is asked for auth events which nobody has sent. What it gives is yet to be verified. */
export interface AuthSource {
  /** The auth chain of an event, in any order. */
  chain(eventId: string, signal: AbortSignal): Promise<Json[]>;
  event(eventId: string, signal: AbortSignal): Promise<Json | null>;
}

/** The IDs of the state before an event, as the server has it. Rejects when it does not give them. */
export async function stateIdsAt(
  remote: RemoteServers,
  server: string,
  roomId: string,
  eventId: string,
): Promise<Set<string>> {
  const { pdu_ids: ids } = await remote.request(server, {
    method: 'GET',
    path: `/_matrix/federation/v1/state_ids/${encodeURIComponent(roomId)}?event_id=${encodeURIComponent(eventId)}`,
    timeoutMs: STATE_IDS_MS,
    maxBytes: MOST_STATE_IDS_BYTES,
  });
  return new Set(Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : []);
}

/** The events of a room that `server` serves over federation. Both reads reject when it does not. */
export function authSourceAt(remote: RemoteServers, server: string, roomId: string): AuthSource {
  const get = (path: string, maxBytes: number, signal: AbortSignal) =>
    remote.request(server, {
      method: 'GET',
      path: `/_matrix/federation/v1/${path}`,
      timeoutMs: ANSWER_MS,
      maxBytes,
      signal,
    });
  return {
    async chain(eventId, signal) {
      const path = `event_auth/${encodeURIComponent(roomId)}/${encodeURIComponent(eventId)}`;
      const { auth_chain: chain } = await get(path, MOST_CHAIN_BYTES, signal);
      return Array.isArray(chain) ? chain.slice(0, MOST_CHAIN) : [];
    },
    async event(eventId, signal) {
      const { pdus } = await get(`event/${encodeURIComponent(eventId)}`, MOST_EVENT_BYTES, signal);
      const event = Array.isArray(pdus) ? pdus[0] : null;
      return isObject(event) ? event : null;
    },
  };
}
