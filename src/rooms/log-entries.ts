import type { JsonObject } from '../matrix/json.ts';
import { stateKeyOf } from '../matrix/pdu.ts';
import type { LogEntry, NewLogEntry, Store } from '../store/store.ts';

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

/** The type of entries that are no events but say something of the log itself. Never shown, never relayed. */
const MARK = 'mark';
/** No event has such an ID. */
const STATE_IS_PARTIAL = 'state_is_partial';
const STATE_IS_WHOLE = 'state_is_whole';

/** The log can be read, but the replica is still without much of the room's state. */
export function statePartialMark(now: number): NewLogEntry {
  return mark(STATE_IS_PARTIAL, now);
}

/** From here on the replica has the state that it lacked: whoever read the log before it is told the state anew. */
export function stateWholeMark(now: number): NewLogEntry {
  return mark(STATE_IS_WHOLE, now);
}

export function isMark({ eventId, type }: Pick<LogEntry, 'eventId' | 'type'>): boolean {
  return type === MARK && !eventId.startsWith('$');
}

/** Whether who read the log up to before this entry has to be told the whole state. */
export function tellsStateAnew(entry: Pick<LogEntry, 'eventId' | 'type'>): boolean {
  return isMark(entry) && entry.eventId !== STATE_IS_PARTIAL;
}

/** Whether the state of the room's replica is still partial. */
export async function isStatePartial(store: Store, roomId: string): Promise<boolean> {
  const marks = await store.logs.positions(roomId, [STATE_IS_PARTIAL, STATE_IS_WHOLE]);
  return marks.has(STATE_IS_PARTIAL) && !marks.has(STATE_IS_WHOLE);
}

function mark(eventId: string, now: number): NewLogEntry {
  return {
    eventId,
    json: '{}',
    type: MARK,
    stateKey: null,
    replaces: null,
    applied: false,
    shown: false,
    receivedAt: now,
  };
}
