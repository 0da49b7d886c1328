import { parseFilter, type SyncFilter } from '../../client-view/filter.ts';
import { isObject, type JsonObject } from '../../matrix/json.ts';
import { checkJson } from '../../matrix/json-scan.ts';
import { MatrixError } from '../../platform/matrix-error.ts';

/** More than this at once is cut. */
const MOST_EVENTS = 100;

export type Direction = 'b' | 'f';

/** `dir`. Throws 400 for anything else than `b` and `f`. */
export function directionOf(query: URLSearchParams, otherwise: Direction): Direction {
  const dir = query.get('dir') ?? otherwise;
  if (dir !== 'b' && dir !== 'f') throw invalid('dir is neither b nor f');
  return dir;
}

/** `limit`, cut at a hundred. Throws 400 for what is no whole number from 0 on. */
export function limitOf(query: URLSearchParams, otherwise: number): number {
  const limit = wholeNumber(query, 'limit') ?? otherwise;
  if (limit < 0) throw invalid('limit is less than 0');
  return Math.min(limit, MOST_EVENTS);
}

/** A whole number; null where it is not given. Throws 400. */
export function wholeNumber(query: URLSearchParams, name: string): number | null {
  const text = query.get(name);
  if (text === null || text === '') return null;
  const value = Number(text);
  if (!/^-?[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw invalid(`${name} is no whole number`);
  }
  return value;
}

/** `filter`, a `RoomEventFilter` as JSON: what `/sync` has for a timeline and its state, in one. Throws 400. */
export function filterOf(query: URLSearchParams): SyncFilter {
  const text = query.get('filter');
  if (text === null || text === '') return parseFilter({});
  const json = parsed(text);
  return parseFilter({ ...json, room: { timeline: json, state: json } });
}

export function invalid(message: string): MatrixError {
  return new MatrixError(400, 'M_INVALID_PARAM', message);
}

export function unrecognised(): MatrixError {
  return new MatrixError(404, 'M_UNRECOGNIZED', 'There is no such endpoint');
}

export function notFound(): MatrixError {
  return new MatrixError(404, 'M_NOT_FOUND', 'There is no such event that may be read here');
}

function parsed(text: string): JsonObject {
  let json: unknown;
  try {
    checkJson(Buffer.from(text));
    json = JSON.parse(text);
  } catch {
    throw new MatrixError(400, 'M_NOT_JSON', 'filter is not JSON');
  }
  if (!isObject(json)) throw invalid('filter is no JSON object');
  return json;
}
