/** A body over this is held in memory that threads can share; see `CollectedBody`. */
export const LARGE_BODY_BYTES = 1024 * 1024;
/** Shared memory grows by so much at a time: taking it costs time for each page of it. */
const GROWTH_BYTES = 1024 * 1024;

/**
 * The bytes of an answer as they come. A large one is copied chunk by chunk into one block of shared memory: to
 * join tens of MiB at the end would hold up the event loop, and so would a copy for the worker that reads them.
 */
export class CollectedBody {
  readonly #mostBytes: number;
  #chunks: Buffer[] = [];
  #block: SharedArrayBuffer | null = null;
  #length = 0;

  /** `mostBytes`: the caller adds no more than that in all. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  get length(): number {
    return this.#length;
  }

  add(chunk: Buffer): void {
    const start = this.#length;
    this.#length += chunk.length;
    if (this.#block === null && this.#length <= LARGE_BODY_BYTES) {
      this.#chunks.push(chunk);
      return;
    }
    if (this.#block === null) {
      this.#block = new SharedArrayBuffer(0, { maxByteLength: Math.max(this.#mostBytes, this.#length) });
      this.#grow(this.#block);
      let at = 0;
      for (const earlier of this.#chunks.splice(0)) {
        new Uint8Array(this.#block, at, earlier.length).set(earlier);
        at += earlier.length;
      }
    } else this.#grow(this.#block);
    new Uint8Array(this.#block, start, chunk.length).set(chunk);
  }

  /** All that was added. Over `LARGE_BODY_BYTES` its memory is shared with every thread that it is sent to. */
  bytes(): Buffer {
    return this.#block === null
      ? Buffer.concat(this.#chunks, this.#length)
      : Buffer.from(this.#block, 0, this.#length);
  }

  #grow(block: SharedArrayBuffer): void {
    if (block.byteLength >= this.#length) return;
    block.grow(Math.min(block.maxByteLength, this.#length + GROWTH_BYTES));
  }
}
