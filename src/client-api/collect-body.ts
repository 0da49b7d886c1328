import type { ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';

const GZIP = Buffer.from([0x1f, 0x8b]);

/**
 * Gives `tell` the body of an answer that passes by, without gzip, after the client has it. One of more
 * than `mostBytes`, before or after decoding, or that breaks off, is not told. What is written stays as it is.
 */
export function collectBody(res: ServerResponse, mostBytes: number, tell: (body: Buffer) => void): void {
  let kept: Buffer[] | null = [];
  let size = 0;
  const keep = (chunk: unknown) => {
    if (kept === null || !(chunk instanceof Uint8Array)) return;
    size += chunk.byteLength;
    if (size > mostBytes) kept = null;
    // The bytes may be used again by whoever wrote them.
    else kept.push(Buffer.from(chunk));
  };
  const { write, end } = res;
  res.write = (...args: unknown[]) => {
    keep(args[0]);
    return Reflect.apply(write, res, args) as boolean;
  };
  res.end = (...args: unknown[]) => {
    keep(args[0]);
    return Reflect.apply(end, res, args) as ServerResponse;
  };
  res.once('finish', async () => {
    await setImmediate();
    const body = kept === null ? null : decoded(Buffer.concat(kept), mostBytes);
    if (body !== null) tell(body);
  });
}

/** JSON never begins like gzip, which is the one coding that homeservers and their proxies use for it. */
function decoded(bytes: Buffer, mostBytes: number): Buffer | null {
  if (!bytes.subarray(0, GZIP.length).equals(GZIP)) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: mostBytes });
  } catch {
    return null;
  }
}
