import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { CORS_HEADERS } from '../forward/matrix-answer.ts';
import { isObject, type Json } from '../matrix/json.ts';
import type { Clock } from '../platform/clock.ts';
import { takeTurns } from '../platform/turns.ts';
import { StreamedJson } from '../room-reads/streamed-json.ts';

/** Text that is gathered before it is written. */
const PIECE_CHARS = 64 * 1024;
/** A client that takes none of what was written in this time is gone. */
const LONGEST_STALL_MS = 30_000;
/** Long lists and maps stand in so many objects at most: `{"chunk": […]}`, `{"messages": {"chunk": […]}}`. */
const OBJECTS_AROUND = 2;

/**
 * 200 with this body. A large one is made text in slices, with turns of the event loop between, and no faster than
 * the client takes it. Rejects with what a streamed body rejects with; then nothing has been written, or `res` has
 * its head.
 */
export async function sendJson(
  res: ServerResponse,
  body: Json | StreamedJson,
  clock: Pick<Clock, 'after'>,
): Promise<void> {
  const turn = takeTurns();
  let text = '';
  let begun = false;
  for await (const piece of body instanceof StreamedJson ? body.pieces : piecesOf(body, OBJECTS_AROUND)) {
    text += piece;
    const pause = turn();
    if (pause !== undefined) await pause;
    if (text.length < PIECE_CHARS) continue;
    if (res.destroyed) return;
    if (!begun) writeHead(res);
    begun = true;
    if (!res.write(text)) await drained(res, clock);
    text = '';
  }
  if (res.destroyed) return;
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

/** Until the client has taken what was written, or has gone; one that takes nothing for long is let go. */
async function drained(res: ServerResponse, clock: Pick<Clock, 'after'>): Promise<void> {
  if (res.destroyed) return;
  const over = new AbortController();
  const end = () => over.abort();
  res.once('close', end);
  const stalled = clock.after(LONGEST_STALL_MS, () => res.destroy());
  await once(res, 'drain', { signal: over.signal }).catch(() => undefined);
  stalled.cancel();
  res.off('close', end);
}
