import type { BesideEvent, Caller } from './homeserver.ts';
import { enc, type HomeserverApi, jsonObject } from './homeserver-api.ts';
import { callerRequest } from './identity.ts';

/** Synapse's present place in a room: a stream position, or those of several writers, or one with a depth; further fields. */
const PRESENT = /^(?:s|m|t\d+-)(\d+)(?:~[^_]*)?(_.*)?$/;

/**
 * The homeserver's own token for a place beside an event, for `/messages`, as the caller may have it; null where there
 * is none. An event that the homeserver has not fetched yet, as of a room that it has just joined, has no place in its
 * stream; but Synapse pages back by depth, and fetches what it lacks there. Rejects with `HomeserverDown`.
 */
export async function tokenBeside(
  api: HomeserverApi,
  caller: Caller,
  roomId: string,
  { eventId, depth, side }: BesideEvent,
): Promise<string | null> {
  const context = `/_matrix/client/v3/rooms/${enc(roomId)}/context/${enc(eventId)}?limit=0`;
  const known = await api.send(callerRequest(caller, context));
  const behind = known.status === 200 ? jsonObject(known.body)?.end : null;
  const token = typeof behind === 'string' && side === 'after' ? tokenBefore(behind) : behind;
  if (typeof token === 'string') return token;
  const messages = `/_matrix/client/v3/rooms/${enc(roomId)}/messages?dir=b&limit=1`;
  const newest = await api.send(callerRequest(caller, messages));
  const start = newest.status === 200 ? jsonObject(newest.body)?.start : null;
  const match = typeof start === 'string' ? PRESENT.exec(start) : null;
  if (match === null) return null;
  // Other events may be as deep: where the event stands behind the place it comes again, rather than that they do not.
  return `t${depth}-${match[1]}${match[2] ?? ''}`;
}

/**
 * The place just before an event, given the one just behind it, as `/messages` itself writes it: one stream position
 * less at the same depth. (`start` of `/context` is one depth less, and so passes over an event that was fetched from
 * others, where the older one of two may have the higher position in the stream.) Null where it is no such token.
 */
function tokenBefore(behind: string): string | null {
  const match = /^t(\d+)-(-?\d+)(_.*)?$/.exec(behind);
  return match === null ? null : `t${match[1]}-${Number(match[2]) - 1}${match[3] ?? ''}`;
}
