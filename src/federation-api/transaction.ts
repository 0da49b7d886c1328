import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type Json, type JsonObject, ownMember } from '../matrix/json.ts';

/** A `/send` transaction, as far as peeking is concerned with it. */
export interface Transaction {
  /** PDUs by the room they name, in their order. */
  readonly rooms: ReadonlyMap<string, Json[]>;
  readonly expiredPeeks: readonly { readonly roomId: string; readonly peekId: string }[];
  readonly hasEdus: boolean;
  /** Users whose membership a PDU sets. */
  readonly members: readonly string[];
}

/** The most that a transaction may hold (spec, "Transactions"). */
const MOST_PDUS = 50;
const MOST_EDUS = 100;

/** null when the homeserver has to judge it: not a transaction, or too large for one. */
export function readTransaction(body: Json | undefined): Transaction | null {
  if (!isObject(body)) return null;
  const pdus = listOf(body, 'pdus');
  const edus = listOf(body, 'edus');
  const expired = listOf(body, 'expired_peeks');
  if (pdus === null || edus === null || expired === null) return null;
  if (pdus.length > MOST_PDUS || edus.length > MOST_EDUS) return null;
  const rooms = new Map<string, Json[]>();
  const members: string[] = [];
  for (const pdu of pdus) {
    if (!isObject(pdu) || typeof pdu.room_id !== 'string') continue;
    const ofRoom = rooms.get(pdu.room_id) ?? [];
    ofRoom.push(pdu);
    rooms.set(pdu.room_id, ofRoom);
    if (pdu.type === 'm.room.member' && typeof pdu.state_key === 'string') members.push(pdu.state_key);
  }
  return { rooms, expiredPeeks: expired.flatMap(expiredPeek), hasEdus: edus.length > 0, members };
}

/** Whether a PDU sets the membership of a user of this server: the homeserver acts on such even for rooms it is not in. */
export function concernsUsersOf(transaction: Transaction, serverName: string): boolean {
  return transaction.members.some((userId) => serverNameOf(userId) === serverName);
}

function listOf(body: JsonObject, name: string): Json[] | null {
  const value = ownMember(body, name) ?? [];
  return Array.isArray(value) ? value : null;
}

function expiredPeek(entry: Json) {
  if (!isObject(entry) || typeof entry.room_id !== 'string' || typeof entry.peek_id !== 'string') return [];
  return [{ roomId: entry.room_id, peekId: entry.peek_id }];
}
