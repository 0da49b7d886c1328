import type { LogEntry, NewLogEntry, StoredEvent } from '../store.ts';

/**
 * An event as one value: a header (a JSON array) on the first line, the PDU's JSON after it. The JSON can thus be
 * replaced and read without parsing it. An entry's header begins like an event's, so that one is also the other.
 */
export function encodeEvent(event: StoredEvent): string {
  return `${JSON.stringify([event.eventId, event.type, event.stateKey])}\n${event.json}`;
}

export function decodeEvent(value: string): StoredEvent {
  const [[eventId, type, stateKey], json] = split(value);
  return { eventId: eventId as string, json, type: type as string, stateKey: stateKey as string | null };
}

export function encodeEntry(entry: NewLogEntry): string {
  const { eventId, type, stateKey, replaces, applied, shown, receivedAt } = entry;
  return `${JSON.stringify([eventId, type, stateKey, replaces, applied, shown, receivedAt])}\n${entry.json}`;
}

export function decodeEntry(position: number, value: string): LogEntry {
  const [[, , , replaces, applied, shown, receivedAt]] = split(value);
  return {
    position,
    ...decodeEvent(value),
    replaces: replaces as string | null,
    applied: applied as boolean,
    shown: shown as boolean,
    receivedAt: receivedAt as number,
  };
}

/** Names a state key in the replica's hash. */
export function stateField(type: string, stateKey: string): string {
  return JSON.stringify([type, stateKey]);
}

function split(value: string): [header: unknown[], json: string] {
  const line = value.indexOf('\n');
  return [JSON.parse(value.slice(0, line)) as unknown[], value.slice(line + 1)];
}
