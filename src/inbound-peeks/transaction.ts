import type { JsonObject } from '../matrix/json.ts';
import { alphanumeric, type Random } from '../platform/random.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { LogEntry } from '../store/store.ts';

/** A transaction may carry no more (specification, `PUT /send`). */
export const MOST_PDUS = 50;
/** No rule bounds them; each is a few hundred bytes. */
export const MOST_EXPIRED = 100;

export interface ExpiredPeek {
  readonly roomId: string;
  readonly peekId: string;
}

/** What goes to one server in one request, and what is to be written down when it has arrived. */
export interface Contents {
  /** In the order of each room's log. */
  readonly entries: readonly { readonly roomId: string; readonly entry: LogEntry }[];
  readonly expired: readonly ExpiredPeek[];
  /** Where the cursor of each room stands afterwards. */
  readonly reached: ReadonlyMap<string, number>;
}

export interface Transaction extends Contents {
  /** The request target: the transaction ID has a prefix of its own, apart from the homeserver's numbers. */
  readonly path: string;
  readonly body: JsonObject;
}

export function isEmpty(contents: Contents): boolean {
  return contents.entries.length === 0 && contents.expired.length === 0;
}

/** The same transaction is sent again under the same ID until it is acknowledged. */
export function toTransaction(
  contents: Contents,
  from: { readonly origin: string; readonly now: number; readonly random: Random },
): Transaction {
  const expired = contents.expired.map(({ roomId, peekId }) => ({ room_id: roomId, peek_id: peekId }));
  return {
    ...contents,
    path: `/_matrix/federation/v1/send/peek-${alphanumeric(from.random, 16)}`,
    body: {
      origin: from.origin,
      origin_server_ts: from.now,
      pdus: contents.entries.map(({ entry }) => pduOf(entry)),
      ...(expired.length > 0 && { expired_peeks: expired }),
    },
  };
}
