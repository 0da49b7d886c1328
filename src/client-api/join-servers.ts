import { rawQuery } from '../client-view/client-request.ts';
import { isRoomId } from '../matrix/ids.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';

const CLIENT = '/_matrix/client/(?:r0|v3|unstable|api/v1)';
const JOIN = new RegExp(`^(${CLIENT})/(?:(join|knock)/([^/]+)|rooms/([^/]+)/join)$`);
/** Two names of one parameter: homeservers since MSC4156 look at the first alone where it is there, older ones at the second. */
const PARAMETERS = ['via', 'server_name'] as const;
/** Servers that the room may be peeked through, beside those that it is peeked through. */
const MOST_CANDIDATES = 5;
/** Homeservers take no longer request lines than some 16 KB: one that is already long stays as it is. */
const LONGEST_TARGET = 8_000;

/**
 * The target of a request to join or knock, with the servers through which the room is peeked behind those that the
 * client named: a homeserver that knows nothing of the room has nobody else to ask. `/rooms/{roomId}/join`, which takes
 * no servers, becomes `/join/{roomId}`. Any other target comes back unchanged.
 */
export function withPeekedServers(
  url: string,
  outbound: Pick<OutboundPeeks, 'isPeeked' | 'servers'>,
): string {
  const query = rawQuery(url);
  const path = query === '' ? url.replace(/\?$/, '') : url.slice(0, -query.length - 1);
  const match = JOIN.exec(path);
  if (match === null) return url;
  const [, prefix, verb = 'join', byEither, byRoom] = match;
  const segment = byEither ?? byRoom ?? '';
  const roomId = decode(segment);
  if (roomId === null || !isRoomId(roomId) || !outbound.isPeeked(roomId)) return url;
  const given = new URLSearchParams(query);
  const named = PARAMETERS.flatMap((name) => given.getAll(name));
  const servers = new Set([...named, ...outbound.servers(roomId, MOST_CANDIDATES)]);
  const added = PARAMETERS.flatMap((name) => {
    const has = new Set(given.getAll(name));
    return [...servers]
      .filter((server) => !has.has(server))
      .map((server) => `${name}=${encodeURIComponent(server)}`);
  });
  const parts = [...(query === '' ? [] : [query]), ...added];
  const target = `${prefix}/${verb}/${segment}${parts.length === 0 ? '' : `?${parts.join('&')}`}`;
  return target.length > LONGEST_TARGET ? url : target;
}

function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}
