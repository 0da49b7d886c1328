import type { ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';

const GZIP = Buffer.from([0x1f, 0x8b]);

/** Copies the bodies of answers that pass by; what is written to the client stays as it is. */
export class BodyCollector {
  readonly #mostBytes: number;
  readonly #mostHeld: number;
  #held = 0;

  /** `mostBytes` of one body, before and after decoding; `mostHeld` of all that are passing by. */
  constructor(limits: { readonly mostBytes: number; readonly mostHeld: number }) {
    this.#mostBytes = limits.mostBytes;
    this.#mostHeld = limits.mostHeld;
  }

  /** Bytes of bodies that are passing by. */
  get held(): number {
    return this.#held;
  }

  /** Gives `tell` the body, without gzip, after the client has it. One that is too large, or breaks off, is not told. */
  collect(res: ServerResponse, tell: (body: Buffer) => void): void {
    let kept: Buffer[] | null = [];
    let size = 0;
    const drop = () => {
      this.#held -= size;
      size = 0;
      kept = null;
    };
    const keep = (chunk: unknown) => {
      if (kept === null || !(chunk instanceof Uint8Array)) return;
      const more = chunk.byteLength;
      if (size + more > this.#mostBytes || this.#held + more > this.#mostHeld) return drop();
      size += more;
      this.#held += more;
      // The bytes may be used again by whoever wrote them.
      kept.push(Buffer.from(chunk));
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
      const whole = kept;
      await setImmediate();
      const body = whole === null ? null : decoded(Buffer.concat(whole), this.#mostBytes);
      if (body !== null) tell(body);
    });
    res.once('close', drop);
  }
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
