import type { JsonObject } from '../matrix/json.ts';
import { stateKeyOf } from '../matrix/pdu.ts';
import type { LogEntry, NewLogEntry } from '../store/store.ts';

/** How a log entry is made of an event. `pdu` is as it will be relayed: without `unsigned`. */
export function newEntry(
  event: { readonly eventId: string; readonly pdu: JsonObject; readonly replaces: string | null },
  receivedAt: number,
  flags: { readonly shown: boolean; readonly applied: boolean },
): NewLogEntry {
  return {
    eventId: event.eventId,
    json: JSON.stringify(event.pdu),
    type: String(event.pdu.type),
    stateKey: stateKeyOf(event.pdu),
    replaces: event.replaces,
    applied: flags.applied && stateKeyOf(event.pdu) !== null,
    shown: flags.shown,
    receivedAt,
  };
}

/** The PDU of an entry. What is in the store was checked before it went in. */
export function pduOf(entry: Pick<LogEntry, 'json'>): JsonObject {
  return JSON.parse(entry.json) as JsonObject;
}

/** One string for a `(type, state_key)`; a NUL cannot stand in either of them in a room that works. */
export function stateSlot(type: string, stateKey: string): string {
  return `${type}\u0000${stateKey}`;
}
