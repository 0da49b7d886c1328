import { isObject, type Json, type JsonObject } from '../matrix/json.ts';

/** Caps of the specification and of homeservers. */
const MOST_BACKFILL = 100;
const MOST_MISSING = 20;
const MOST_NAMED_EVENTS = 100;
/** Milliseconds as homeservers take them. */
const TIME = /^-?[0-9]{1,16}$/;

/** A read that a server in the room may make, taken apart. */
export type ReadRequest =
  | { readonly kind: 'event'; readonly eventId: string }
  | {
      readonly kind: 'state' | 'state_ids' | 'event_auth';
      readonly roomId: string;
      readonly eventId: string;
    }
  | {
      readonly kind: 'backfill';
      readonly roomId: string;
      readonly from: readonly string[];
      readonly limit: number;
    }
  | { readonly kind: 'get_missing_events'; readonly roomId: string; readonly body: JsonObject }
  | {
      readonly kind: 'timestamp_to_event';
      readonly roomId: string;
      /** Milliseconds since 1970. */
      readonly ts: number;
      readonly dir: 'b' | 'f';
    };

const PREFIX = '/_matrix/federation/v1/';

/**
 * Reads the raw target of a request; path segments are percent-decoded once and not normalised. null for
 * anything else, and for what no homeserver would answer either.
 */
export function parseRead(method: string, rawTarget: string, body: Json | undefined): ReadRequest | null {
  const [path = '', query = ''] = splitOnce(rawTarget, '?');
  if (!path.startsWith(PREFIX)) return null;
  const [kind, first, second, ...rest] = path.slice(PREFIX.length).split('/').map(decode);
  if (first === undefined || first === null || second === null || rest.length > 0) return null;
  const search = new URLSearchParams(query);
  if (method === 'POST') {
    if (kind !== 'get_missing_events' || second !== undefined || !isObject(body)) return null;
    return { kind, roomId: first, body: missingEvents(body) };
  }
  if (method !== 'GET') return null;
  if (kind === 'event_auth' && second !== undefined) return { kind, roomId: first, eventId: second };
  if (second !== undefined) return null;
  if (kind === 'event') return { kind, eventId: first };
  if (kind === 'backfill') {
    const from = search.getAll('v').slice(0, MOST_NAMED_EVENTS);
    return { kind, roomId: first, from, limit: bounded(Number(search.get('limit') ?? 10), MOST_BACKFILL) };
  }
  if (kind === 'timestamp_to_event') {
    const [ts, dir] = [search.get('ts') ?? '', search.get('dir')];
    if (!TIME.test(ts) || !Number.isSafeInteger(Number(ts)) || (dir !== 'b' && dir !== 'f')) return null;
    return { kind, roomId: first, ts: Number(ts), dir };
  }
  const eventId = search.get('event_id');
  if ((kind !== 'state' && kind !== 'state_ids') || eventId === null) return null;
  return { kind, roomId: first, eventId };
}

/** The same request as it is put to the homeserver in its own name. */
export function toTarget(read: ReadRequest): string {
  const encode = encodeURIComponent;
  switch (read.kind) {
    case 'event':
      return `${PREFIX}event/${encode(read.eventId)}`;
    case 'event_auth':
      return `${PREFIX}event_auth/${encode(read.roomId)}/${encode(read.eventId)}`;
    case 'state':
    case 'state_ids':
      return `${PREFIX}${read.kind}/${encode(read.roomId)}?event_id=${encode(read.eventId)}`;
    case 'backfill': {
      const from = read.from.map((eventId) => `v=${encode(eventId)}`).join('&');
      return `${PREFIX}backfill/${encode(read.roomId)}?${from}&limit=${read.limit}`;
    }
    case 'get_missing_events':
      return `${PREFIX}get_missing_events/${encode(read.roomId)}`;
    case 'timestamp_to_event':
      return `${PREFIX}timestamp_to_event/${encode(read.roomId)}?ts=${read.ts}&dir=${read.dir}`;
  }
}

function missingEvents(body: JsonObject): JsonObject {
  return {
    earliest_events: eventIds(body.earliest_events),
    latest_events: eventIds(body.latest_events),
    limit: bounded(typeof body.limit === 'number' ? body.limit : 10, MOST_MISSING),
    ...(Number.isSafeInteger(body.min_depth) && { min_depth: body.min_depth as number }),
  };
}

function eventIds(list: Json | undefined): string[] {
  if (!Array.isArray(list)) return [];
  return list.filter((id) => typeof id === 'string').slice(0, MOST_NAMED_EVENTS);
}

function bounded(asked: number, most: number): number {
  return Number.isFinite(asked) ? Math.min(most, Math.max(1, Math.floor(asked))) : most;
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** null where the percent-encoding is broken. */
function decode(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}
