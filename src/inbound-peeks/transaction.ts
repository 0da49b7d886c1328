import { canonicalJson } from '../matrix/canonical-json.ts';
import { alphanumeric, type Random } from '../platform/random.ts';
import type { LogEntry } from '../store/store.ts';

/** A transaction may carry no more (specification, `PUT /send`). */
export const MOST_PDUS = 50;
/** No rule bounds them; each is a few hundred bytes. */
export const MOST_EXPIRED = 100;
/** Of PDUs in one transaction, unless one alone is longer: sixteen of the longest, and hundreds of most. */
export const MOST_PDU_BYTES = 1024 * 1024;

export interface ExpiredPeek {
  readonly roomId: string;
  readonly peekId: string;
}

export interface OutgoingPdu {
  readonly roomId: string;
  readonly entry: LogEntry;
  /** The PDU as canonical JSON. */
  readonly json: string;
}

/** What goes to one server in one request, and what is to be written down when it has arrived. */
export interface Contents {
  /** In the order of each room's log. */
  readonly pdus: readonly OutgoingPdu[];
  readonly expired: readonly ExpiredPeek[];
  /** Where the cursor of each room stands afterwards. */
  readonly reached: ReadonlyMap<string, number>;
}

export interface Transaction extends Contents {
  /** The request target. */
  readonly path: string;
  /** Canonical JSON. */
  readonly body: string;
}

export function isEmpty(contents: Contents): boolean {
  return contents.pdus.length === 0 && contents.expired.length === 0;
}

/**
 * Never gives one twice, in this process or another. With a prefix of their own, apart from the homeserver's numbers:
 * both are sent under one name.
 */
export class TransactionIds {
  readonly #prefix: string;
  #given = 0;

  constructor(random: Random) {
    this.#prefix = `peek-${alphanumeric(random, 16)}`;
  }

  next(): string {
    this.#given += 1;
    return `${this.#prefix}-${this.#given}`;
  }
}

/** The same transaction is sent again under the same ID until it is acknowledged. */
export function toTransaction(
  contents: Contents,
  from: { readonly origin: string; readonly now: number; readonly transactionId: string },
): Transaction {
  const { pdus, expired } = contents;
  const rest = canonicalJson({
    ...(expired.length > 0 && {
      expired_peeks: expired.map(({ roomId, peekId }) => ({ room_id: roomId, peek_id: peekId })),
    }),
    origin: from.origin,
    origin_server_ts: from.now,
  });
  return {
    ...contents,
    path: `/_matrix/federation/v1/send/${from.transactionId}`,
    // `pdus` comes after all other names of a transaction.
    body: `${rest.slice(0, -1)},"pdus":[${pdus.map(({ json }) => json).join(',')}]}`,
  };
}
