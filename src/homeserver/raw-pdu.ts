import { JsonError, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Pdu } from '../matrix/pdu.ts';
import { type ByteRange, MemberNames, type MemberRange } from '../matrix/raw-items.ts';
import { asPdu } from './event-lists.ts';

const NAMES = new MemberNames('type', 'state_key', 'unsigned');
const COMMA = 0x2c;
/** One PDU of a version 1 room is at most 64 KiB without its `unsigned`, and that is hardly longer. */
const MOST_BYTES = 1024 * 1024;

/** A PDU in the bytes of an answer, of which no more is read than is asked for. */
export class RawPdu {
  readonly #bytes: Buffer;
  readonly #range: ByteRange;
  readonly #type: ByteRange | undefined;
  readonly #stateKey: ByteRange | undefined;
  readonly #unsigned: MemberRange | undefined;

  /** Throws `JsonError` where it is no object, or far longer than a PDU can be. */
  constructor(bytes: Buffer, range: ByteRange) {
    if (range.end - range.start > MOST_BYTES)
      throw new JsonError('too-large', 'An event longer than any may be');
    this.#bytes = bytes;
    this.#range = range;
    [this.#type, this.#stateKey, this.#unsigned] = NAMES.find(bytes, range);
  }

  /** null where it has none. */
  get type(): string | null {
    return this.#text(this.#type);
  }

  /** null where it is no state. */
  get stateKey(): string | null {
    return this.#text(this.#stateKey);
  }

  /** As an object, without `unsigned`; null where it has not the fields of a PDU. Throws `JsonError`. */
  parsed(): Pdu | null {
    return asPdu(parseJson(this.#bytes.subarray(this.#range.start, this.#range.end)) as JsonObject);
  }

  /** Its bytes as they came, but for `unsigned` (specification, "Signing events": covered by nothing). */
  withoutUnsigned(): Uint8Array[] {
    const { start, end } = this.#range;
    const unsigned = this.#unsigned;
    if (unsigned === undefined) return [this.#bytes.subarray(start, end)];
    const before = this.#commaBefore(unsigned.keyStart);
    if (before !== null)
      return [this.#bytes.subarray(start, before), this.#bytes.subarray(unsigned.end, end)];
    const after = this.#bytes.indexOf(COMMA, unsigned.end);
    const rest = after < 0 || after >= end ? unsigned.end : after + 1;
    return [this.#bytes.subarray(start, unsigned.keyStart), this.#bytes.subarray(rest, end)];
  }

  #text(range: ByteRange | undefined): string | null {
    if (range === undefined) return null;
    const value = parseJson(this.#bytes.subarray(range.start, range.end));
    return typeof value === 'string' ? value : null;
  }

  /** Where the comma before a member stands; null where the member is the first one. */
  #commaBefore(at: number): number | null {
    for (let i = at - 1; i > this.#range.start; i--) if (this.#bytes[i] === COMMA) return i;
    return null;
  }
}
