import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib';
import type { WholeResponse } from '../forward/raw-forwarder.ts';

/**
 * The body as it was before its content coding, null when that cannot be had. Rarely needed: we ask for no
 * coding, but the first request of a client we do not know yet goes up as it came.
 */
export function decoded(answer: WholeResponse): Buffer | null {
  const at = answer.rawHeaders.findIndex(
    (name, i) => i % 2 === 0 && name.toLowerCase() === 'content-encoding',
  );
  if (at === -1) return answer.body;
  const decode = DECODERS.get((answer.rawHeaders[at + 1] ?? '').toLowerCase());
  if (decode === undefined) return null;
  try {
    const body = decode(answer.body);
    answer.rawHeaders.splice(at, 2);
    return body;
  } catch {
    return null;
  }
}

const DECODERS = new Map<string, (body: Buffer) => Buffer>([
  ['gzip', gunzipSync],
  ['deflate', inflateSync],
  ['br', brotliDecompressSync],
]);
