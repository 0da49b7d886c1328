import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import type { WholeResponse } from '../forward/raw-forwarder.ts';

/**
 * The answer as it was before its content coding, null when that cannot be had; the one given stays as it is.
 * Rarely needed: we ask for no coding, but the first request of a client we do not know yet goes up as it came.
 */
export function decoded(answer: WholeResponse): WholeResponse | null {
  const { status, rawHeaders, body } = answer;
  const at = rawHeaders.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-encoding');
  if (at === -1) return answer;
  const decode = DECODERS.get((rawHeaders[at + 1] ?? '').toLowerCase());
  if (decode === undefined) return null;
  try {
    return { status, rawHeaders: rawHeaders.toSpliced(at, 2), body: decode(body) };
  } catch {
    return null;
  }
}

/** With its copy no more than may be held for one device, bytes; what is larger goes to the client as it is. */
const LIMIT = { maxOutputLength: 128 * 1024 * 1024 };

const DECODERS = new Map<string, (body: Buffer) => Buffer>([
  ['gzip', (body) => gunzipSync(body, LIMIT)],
  ['deflate', (body) => inflateSync(body, LIMIT)],
  ['br', (body) => brotliDecompressSync(body, LIMIT)],
]);
