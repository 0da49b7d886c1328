import fc from 'fast-check';
import type { Json, JsonObject } from '../../src/matrix/json.ts';

/** Makes inputs out of a seed, fast: a hundred thousand of them are to cost seconds. */
export class Maker {
  #state: number;
  /** How large what is made may be: shrinking goes towards 0. */
  readonly size: number;

  constructor(seed: number, size: number) {
    this.#state = seed >>> 0;
    this.size = size;
  }

  /** An integer in `0 ≤ n < limit` (mulberry32). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  /** True so often in a hundred. */
  percent(share: number): boolean {
    return this.below(100) < share;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Up to `most` things, fewer where the size is small. */
  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(Math.min(most, this.size) + 1) }, make);
  }

  /** A text of these pieces. */
  text(pieces: readonly string[], most = 12): string {
    return this.list(most, () => this.of(pieces)).join('');
  }

  bytes(most: number): Buffer {
    return Buffer.from(this.list(most, () => this.below(256)));
  }

  integer(): number {
    const digits = this.below(16);
    const value = Math.floor((this.below(2 ** 31) / 2 ** 31) * 10 ** digits);
    return this.percent(30) && value !== 0 ? -value : value;
  }

  /**
   * A member's name; never a lone back-slash. V8 13.6 keeps what follows which member of an object, and where it
   * expects the name `\` it takes any name for it that is one character and written as an escape: after
   * `JSON.parse('{"\\\\":1}')` it gives `{"\\":1}` for `{"\\n":1}`, for as long as the process lives.
   */
  name(): string {
    const name = this.percent(60) ? this.of(NAMES) : this.text(CHARACTERS, 6);
    return name === '\\' ? '/' : name;
  }

  /** JSON as Matrix signs it. */
  json(depth = 3): Json {
    const dice = this.below(depth > 0 ? 10 : 6);
    if (dice < 2) return this.text(CHARACTERS);
    if (dice === 2) return this.integer();
    if (dice === 3) return this.of<Json>([true, false, null, 0, 2 ** 53 - 1, -(2 ** 53) + 1]);
    if (dice < 6) return this.name();
    if (dice < 8) return this.list(4, () => this.json(depth - 1));
    return this.object(depth - 1);
  }

  object(depth = 3): JsonObject {
    const entries = this.list(6, () => [this.name(), this.json(depth)] as const);
    return Object.fromEntries(entries);
  }
}

/** Where sorting, escaping and prototypes go wrong. */
const CHARACTERS = [
  ...[
    'a',
    'b',
    'Z',
    '0',
    '9',
    '10',
    ' ',
    '"',
    '\\',
    '/',
    '\u0000',
    '\b',
    '\t',
    '\n',
    '\f',
    '\r',
    '\u001f',
    '\u007f',
  ],
  ...[
    'ä',
    '\u0080',
    '\u2028',
    '\ud7ff',
    '\ue000',
    '\uff61',
    '\uffff',
    '😀',
    '\u{10000}',
    '\u{10ffff}',
    '$',
    ':',
    '.',
  ],
];

export const NAMES = [
  ...[
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'toJSON',
    'length',
    '',
    'a',
    'b',
    '1',
    '10',
    '9',
  ],
  ...[
    'type',
    'content',
    'sender',
    'state_key',
    'room_id',
    'event_id',
    'depth',
    'origin_server_ts',
    'unsigned',
  ],
  ...[
    'hashes',
    'sha256',
    'signatures',
    'prev_events',
    'auth_events',
    'redacts',
    'membership',
    'join_rule',
    'allow',
  ],
  ...[
    'users',
    'users_default',
    'events',
    'ban',
    'third_party_invite',
    'signed',
    'token',
    'public_key',
    'creator',
  ],
  ...[
    'm.room.create',
    'm.room.member',
    'm.room.power_levels',
    'm.room.join_rules',
    'room_version',
    'ed25519:1',
  ],
  ...[
    'join_authorised_via_users_server',
    'additional_creators',
    'm.federate',
    'join',
    'ban',
    'invite',
    'knock',
  ],
];

const LARGEST = 12;

/** Inputs that a maker makes; a counterexample is shrunk by its size. */
export function made<T>(make: (maker: Maker) => T): fc.Arbitrary<T> {
  return fc
    .tuple(fc.noShrink(fc.noBias(fc.nat(0x7fffffff))), fc.noBias(fc.nat(LARGEST)))
    .map(([seed, size]) => make(new Maker(seed, size)));
}
