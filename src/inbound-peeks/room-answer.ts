import { MatrixError } from '../platform/matrix-error.ts';

/** What an answer to `/peek` consists of: JSON in stretches of bytes, most of them shared by all who ask. */
export interface RoomAnswer {
  readonly bytes: number;
  readonly chunks: readonly Uint8Array[];
  /** To be called once, when it has been written or given up. */
  release(): void;
}

/** Rooms in all that may be on their way to servers that read slowly, beside those that are cached. */
const MOST_BYTES = 256 * 1024 * 1024;
const RETRY_MS = 60_000;

/** What servers are being answered with: a room counts once, however many are sent it. */
export class AnswersUnderWay {
  readonly #readers = new Map<object, number>();
  #bytes = 0;

  /** Returns the way to let go. Throws `MatrixError` 503 where too much is under way. */
  hold(room: object, bytes: number): () => void {
    const readers = this.#readers.get(room) ?? 0;
    if (readers === 0) {
      if (this.#bytes > 0 && this.#bytes + bytes > MOST_BYTES) throw busy();
      this.#bytes += bytes;
    }
    this.#readers.set(room, readers + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#readers.get(room) ?? 1) - 1;
      if (left > 0) this.#readers.set(room, left);
      else {
        this.#readers.delete(room);
        this.#bytes -= bytes;
      }
    };
  }
}

function busy(): MatrixError {
  const message = 'Too many large rooms are being sent at the moment';
  return new MatrixError(503, 'M_UNKNOWN', message, { retry_after_ms: RETRY_MS });
}
