import type { Json, JsonObject } from '../../../src/matrix/json.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { pduOf } from '../../../src/rooms/log-entries.ts';
import type { LogEntry } from '../../../src/store/store.ts';
import { PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { type BuiltEvent, RoomBuilder, signedEvent } from '../../support/room-builder.ts';

/** A room of `PEER` that is peeked, with one message in it. */
export async function peeked(version = '10', prepare: (room: RoomBuilder) => void = () => {}) {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder(version));
  prepare(room);
  room.message('before');
  await house.peek(room.roomId);
  const { head } = await house.log(room.roomId);
  const entries = async () => house.store.logs.read(room.roomId, head, 1000);
  return {
    house,
    room,
    entries,
    /** What has entered the log since: bodies of messages, types of the rest. */
    since: async () => (await entries()).map(inShort),
    send: (...events: readonly { readonly pdu: JsonObject }[]) => house.ingest(room, events),
    count: (metric: 'eventsDropped' | 'heldEvents' | 'gaps', label: string, value: string) =>
      counted(house, metric, label, value),
  };
}

export function inShort(entry: LogEntry): string {
  const { content } = pduOf(entry);
  return String((content as JsonObject).body ?? entry.type.replace('m.room.', ''));
}

async function counted(
  house: PeekingHouse,
  metric: 'eventsDropped' | 'heldEvents' | 'gaps',
  label: string,
  value: string,
): Promise<number> {
  const { values } = await house.metrics[metric].get();
  return values.find(({ labels }) => (labels as Record<string, unknown>)[label] === value)?.value ?? 0;
}

/** An event as its sender's server would sign it with other members; its ID is no longer the one it had. */
export function changed(room: RoomBuilder, event: BuiltEvent, change: Readonly<Record<string, Json>>): Pdu {
  const { signatures: _, hashes: __, ...bare } = event.pdu;
  const server = event.pdu.sender.slice(event.pdu.sender.indexOf(':') + 1);
  return signedEvent({ ...bare, ...change } as JsonObject, room.rules, server);
}

/** The IDs of events, in the form in which an event of this room version names others. */
export function references(room: RoomBuilder, ...events: readonly { readonly eventId: string }[]): Json[] {
  return events.map(({ eventId }) => (room.rules.eventIds === 'named' ? [eventId, {}] : eventId));
}

/** Lets `server` serve `GET /event` of every event of the room, and the auth chains it is asked for. */
export function servesEvents(house: PeekingHouse, room: RoomBuilder, server = PEER): void {
  house.remote.on(server, 'GET', '/event/', ({ path }) => {
    const event = room.events.find(({ eventId }) => path.endsWith(eventId));
    if (event === undefined) throw new Error('it has no such event');
    return { pdus: [event.pdu] };
  });
}
