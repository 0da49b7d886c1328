import { createHash } from 'node:crypto';

/** What this proxy itself has to remember in a device's sync token. */
export interface OurPart {
  /** The device it was made for: see `deviceHash`. */
  readonly device: string;
  /** How far each peek of the device has been read: instance → position in the room's log. */
  readonly peeks: ReadonlyMap<number, number>;
}

/** First byte of every encoding: not zero, so that it survives as the head of a number, and the version. */
const VERSION = 0xa1;
const DEVICE_BYTES = 4;
const CHECKSUM_BYTES = 4;
/** Instances are about seconds and positions about milliseconds of the same clock. */
const POSITIONS_PER_INSTANCE = 1000n;

/** Names a device in a token: 8 hexadecimal digits. A token that is presented by another device is seen by it. */
export function deviceHash(userId: string, deviceId: string): string {
  const hash = createHash('sha256').update(JSON.stringify([userId, deviceId]));
  return hash.digest('hex').slice(0, DEVICE_BYTES * 2);
}

/**
 * Packs our part, and beside it a number that belongs to the homeserver.
 *
 * Version byte; `kept`; device; how many peeks; for each peek, by instance, the step from the instance before it
 * and the distance of its position from where a log opened at that moment would begin; checksum. Numbers are
 * variable-length (7 bits a byte), so that fifty peeks of ordinary age take some 450 bytes.
 *
 * The checksum is against accidents. A client that forges a token deceives itself alone: what may be shown is
 * not decided by tokens. Throws `RangeError` where a number is not an integer of 0 … 2^53−1 or the device is
 * not of `deviceHash`.
 */
export function encodePart(ours: OurPart, kept: number): Buffer {
  if (!/^[0-9a-f]{8}$/.test(ours.device)) throw new RangeError('not a device hash');
  const out: number[] = [VERSION];
  writeNumber(out, natural(kept));
  out.push(...Buffer.from(ours.device, 'hex'));
  writeNumber(out, BigInt(ours.peeks.size));
  let previous = 0n;
  for (const [instance, position] of [...ours.peeks].sort(([a], [b]) => a - b)) {
    const at = natural(instance);
    writeNumber(out, at - previous);
    writeNumber(out, zigzag(natural(position) - at * POSITIONS_PER_INSTANCE));
    previous = at;
  }
  const bytes = Buffer.from(out);
  return Buffer.concat([bytes, checksum(bytes)]);
}

/** The inverse of `encodePart`; null for anything that it did not make. */
export function decodePart(bytes: Buffer): { ours: OurPart; kept: number } | null {
  const end = bytes.length - CHECKSUM_BYTES;
  if (end < 1 || bytes[0] !== VERSION) return null;
  if (!checksum(bytes.subarray(0, end)).equals(bytes.subarray(end))) return null;
  const reader = new Reader(bytes.subarray(1, end));
  const kept = reader.number();
  const device = reader.bytes(DEVICE_BYTES).toString('hex');
  const count = Number(reader.number());
  const peeks = new Map<number, number>();
  let instance = 0n;
  for (let i = 0; i < count && !reader.failed; i++) {
    instance += reader.number();
    const position = unzigzag(reader.number()) + instance * POSITIONS_PER_INSTANCE;
    if (!isNatural(instance) || !isNatural(position)) return null;
    peeks.set(Number(instance), Number(position));
  }
  if (reader.failed || !reader.atEnd() || peeks.size !== count || !isNatural(kept)) return null;
  return { ours: { device, peeks }, kept: Number(kept) };
}

class Reader {
  failed = false;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  number(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.failed = true;
    return 0n;
  }

  bytes(count: number): Buffer {
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }
}

function writeNumber(out: number[], value: bigint): void {
  let rest = value;
  while (rest >= 0x80n) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
}

/** Signed to unsigned, small ones staying small: 0, −1, 1, −2 … → 0, 1, 2, 3 … */
function zigzag(value: bigint): bigint {
  return value < 0n ? -2n * value - 1n : 2n * value;
}

function unzigzag(value: bigint): bigint {
  return value & 1n ? -(value + 1n) / 2n : value / 2n;
}

function isNatural(value: bigint): boolean {
  return value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER);
}

function natural(value: number): bigint {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a position or instance: ${value}`);
  return BigInt(value);
}

function checksum(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest().subarray(0, CHECKSUM_BYTES);
}
