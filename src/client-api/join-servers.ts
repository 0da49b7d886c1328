import type { IncomingMessage, ServerResponse } from 'node:http';
import { rawQuery } from '../client-view/client-request.ts';
import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import { isRoomId } from '../matrix/ids.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Store } from '../store/store.ts';

const CLIENT = '/_matrix/client/(?:r0|v3|unstable|api/v1)';
const JOIN = new RegExp(`^(${CLIENT})/(?:(join|knock)/([^/]+)|rooms/([^/]+)/join)$`);
/** Two names of one parameter: homeservers since MSC4156 look at the first alone where it is there, older ones at the second. */
const PARAMETERS = ['via', 'server_name'] as const;
/** Servers that the room may be peeked through, beside those that it is peeked through. */
const MOST_CANDIDATES = 5;
/** Homeservers take no longer request lines than some 16 KB: one that is already long stays as it is. */
const LONGEST_TARGET = 8_000;

/** A request to join or knock on a room by its ID. */
interface JoinTarget {
  readonly roomId: string;
  /** Without servers, and without the query. */
  readonly path: string;
  readonly query: string;
}

export interface JoinServersDeps {
  readonly outbound: Pick<OutboundPeeks, 'isPeeked' | 'servers'>;
  readonly devicePeeks: Pick<DevicePeeks, 'anyPeeks'>;
  readonly store: Pick<Store, 'logs'>;
}

/**
 * Names the servers through which a room is peeked in requests to join or knock on it, behind those that the client
 * named: a homeserver that knows nothing of the room has nobody else to ask. `/rooms/{roomId}/join`, which takes no
 * servers, becomes `/join/{roomId}`. Every other request is left as it is.
 */
export class JoinServers {
  readonly #deps: JoinServersDeps;

  constructor(deps: JoinServersDeps) {
    this.#deps = deps;
  }

  /** Never answers. True where the store has to be asked first: `pass` is called then. */
  take(req: IncomingMessage, res: ServerResponse, pass: () => void): boolean {
    const { outbound, devicePeeks } = this.#deps;
    const url = req.url ?? '';
    const target = req.method === 'POST' ? joinTargetOf(url) : null;
    if (target === null) return false;
    if (outbound.isPeeked(target.roomId)) {
      req.url = withServers(url, target, outbound.servers(target.roomId, MOST_CANDIDATES));
      return false;
    }
    if (!devicePeeks.anyPeeks) return false;
    void this.#whileAsleep(target.roomId).then((servers) => {
      req.url = withServers(url, target, servers);
      if (!res.destroyed) pass();
    });
    return true;
  }

  /** Through whom a room was peeked whose peeks sleep. Never rejects. */
  async #whileAsleep(roomId: string): Promise<readonly string[]> {
    const log = await this.#deps.store.logs.get(roomId).catch(() => null);
    return log?.feed === 'remote' ? (log.asleep?.via.slice(0, MOST_CANDIDATES) ?? []) : [];
  }
}

function joinTargetOf(url: string): JoinTarget | null {
  const query = rawQuery(url);
  const match = JOIN.exec(query === '' ? url.replace(/\?$/, '') : url.slice(0, -query.length - 1));
  if (match === null) return null;
  const [, prefix, verb = 'join', byEither, byRoom] = match;
  const segment = byEither ?? byRoom ?? '';
  const roomId = decode(segment);
  if (roomId === null || !isRoomId(roomId)) return null;
  return { roomId, path: `${prefix}/${verb}/${segment}`, query };
}

function withServers(url: string, { path, query }: JoinTarget, servers: readonly string[]): string {
  if (servers.length === 0) return url;
  const given = new URLSearchParams(query);
  const all = new Set([...PARAMETERS.flatMap((name) => given.getAll(name)), ...servers]);
  const added = PARAMETERS.flatMap((name) => {
    const has = new Set(given.getAll(name));
    return [...all]
      .filter((server) => !has.has(server))
      .map((server) => `${name}=${encodeURIComponent(server)}`);
  });
  const parts = [...(query === '' ? [] : [query]), ...added];
  const target = `${path}?${parts.join('&')}`;
  return target.length > LONGEST_TARGET ? url : target;
}

function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}
