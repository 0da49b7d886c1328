import type { JsonObject } from '../matrix/json.ts';

/** PDUs as the items of a JSON array, with commas between them and without its brackets. */
export interface PduList {
  readonly count: number;
  /** Of all chunks together. */
  readonly bytes: number;
  readonly chunks: readonly Uint8Array[];
}

/** Small enough to be written without holding others up, large enough to be few. */
const CHUNK_BYTES = 256 * 1024;
const COMMA = 0x2c;

/** Copies PDUs together, so that the answer they came in can be let go of. */
export class PduListWriter {
  readonly #chunks: Uint8Array[] = [];
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #used = 0;
  #bytes = 0;
  #count = 0;

  /** Takes one PDU, given as the parts of its JSON. */
  add(...parts: readonly Uint8Array[]): void {
    if (this.#count > 0) this.#put(Uint8Array.of(COMMA));
    for (const part of parts) this.#put(part);
    this.#count += 1;
  }

  list(): PduList {
    const last = this.#used === 0 ? [] : [this.#chunk.subarray(0, this.#used)];
    return { count: this.#count, bytes: this.#bytes, chunks: [...this.#chunks, ...last] };
  }

  #put(part: Uint8Array): void {
    this.#bytes += part.length;
    for (let from = 0; from < part.length; ) {
      const room = Math.min(part.length - from, CHUNK_BYTES - this.#used);
      this.#chunk.set(part.subarray(from, from + room), this.#used);
      this.#used += room;
      from += room;
      if (this.#used < CHUNK_BYTES) continue;
      this.#chunks.push(this.#chunk);
      this.#chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      this.#used = 0;
    }
  }
}

/** A list of PDUs that are objects. */
export function pduListOf(pdus: Iterable<JsonObject>): PduList {
  const writer = new PduListWriter();
  for (const pdu of pdus) writer.add(Buffer.from(JSON.stringify(pdu)));
  return writer.list();
}
