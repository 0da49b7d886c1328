import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import { isObject, type Json } from '../matrix/json.ts';
import { takeTurns } from '../platform/turns.ts';

/** Text that is gathered before it is written. */
const PIECE_CHARS = 64 * 1024;
/** Long lists and maps stand in so many objects at most: `{"chunk": […]}`, `{"messages": {"chunk": […]}}`. */
const OBJECTS_AROUND = 2;

/**
 * 200 with this body. A large one is made text in slices, with turns of the event loop between, and no faster than
 * the client takes it.
 */
export async function sendJson(res: ServerResponse, body: Json): Promise<void> {
  const turn = takeTurns();
  let text = '';
  let begun = false;
  for (const piece of piecesOf(body, OBJECTS_AROUND)) {
    text += piece;
    if (text.length < PIECE_CHARS) continue;
    if (!begun) writeHead(res);
    begun = true;
    if (!res.write(text)) await drained(res);
    if (res.destroyed) return;
    text = '';
    await turn();
  }
  if (!begun) writeHead(res, Buffer.byteLength(text));
  res.end(text);
}

/** The JSON text in pieces: a list item by item, an object member by member, what stands in these at once. */
function* piecesOf(value: Json, levels: number): Generator<string> {
  let separator = '';
  if (Array.isArray(value)) {
    yield '[';
    for (const item of value) {
      yield `${separator}${JSON.stringify(item)}`;
      separator = ',';
    }
    yield ']';
  } else if (isObject(value) && levels > 0) {
    yield '{';
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${separator}${JSON.stringify(name)}:`;
      yield* piecesOf(member, levels - 1);
      separator = ',';
    }
    yield '}';
  } else yield JSON.stringify(value);
}

function writeHead(res: ServerResponse, length?: number): void {
  const known = length === undefined ? [] : ['Content-Length', String(length)];
  res.writeHead(200, [...CORS_HEADERS, 'Content-Type', 'application/json', ...known]);
}

/** Until the client has taken what was written, or has gone. */
async function drained(res: ServerResponse): Promise<void> {
  if (res.destroyed) return;
  const gone = new AbortController();
  const left = () => gone.abort();
  res.once('close', left);
  await once(res, 'drain', { signal: gone.signal }).catch(() => undefined);
  res.off('close', left);
}
