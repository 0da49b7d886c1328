import { MAX_PDU_BYTES } from '../matrix/pdu.ts';
import type { RoomLog, RoomLogStore } from '../store/store.ts';

/** Positions that are measured at a time: at most 32 MiB of events. */
const BLOCK = 500;

/**
 * How many bytes the events of logs have, measured block by block from the newest. The sum of a block that is full is
 * remembered; that what is redacted in it later, or pruned from it, still counts does no harm.
 */
export class LogSizes {
  readonly #logs: Pick<RoomLogStore, 'bytes'>;
  readonly #keepBytes: number;
  /** Room → block → bytes. */
  readonly #rooms = new Map<string, Map<number, number>>();

  constructor(logs: Pick<RoomLogStore, 'bytes'>, keepBytes: number) {
    this.#logs = logs;
    this.#keepBytes = keepBytes;
  }

  /**
   * The position before which the log has more than is kept, on the safe side by at most a block; null where it has
   * not. The newest block is always kept.
   */
  async surplusBefore({ roomId, head, tail }: RoomLog): Promise<number | null> {
    // A log of few events need not be measured.
    if ((head - tail + 1) * MAX_PDU_BYTES <= this.#keepBytes) {
      this.#rooms.delete(roomId);
      return null;
    }
    const known = this.#rooms.get(roomId) ?? new Map<number, number>();
    this.#rooms.set(roomId, known);
    const [newest, oldest] = [Math.floor(head / BLOCK), Math.floor(tail / BLOCK)];
    for (const block of known.keys()) if (block < oldest) known.delete(block);
    let bytes = 0;
    for (let block = newest; block >= oldest; block--) {
      const [first, last] = [block * BLOCK, block * BLOCK + BLOCK - 1];
      const size = known.get(block) ?? (await this.#logs.bytes(roomId, first, last));
      if (last <= head) known.set(block, size);
      bytes += size;
      if (bytes > this.#keepBytes && block < newest) return last + 1;
    }
    return null;
  }

  /** Forgets the logs of all other rooms. */
  retain(roomIds: ReadonlySet<string>): void {
    for (const roomId of this.#rooms.keys()) if (!roomIds.has(roomId)) this.#rooms.delete(roomId);
  }
}
