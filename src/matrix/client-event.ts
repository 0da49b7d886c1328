import { isObject, type JsonObject } from './json.ts';
import type { RoomVersionRules } from './room-versions.ts';

export interface ClientEventOptions {
  /** Written as `room_id` when given; `/sync` leaves it out. */
  readonly roomId?: string | null;
  /** Milliseconds since it was sent, for `unsigned.age`. */
  readonly age?: number;
  /** Instead of `age`: the present time, from which the age is taken by the event's own clock. */
  readonly now?: number;
  /** Where the room version has the target of a redaction; without it, wherever there is one. */
  readonly redactsPlace?: RoomVersionRules['redactsPlace'];
}

/**
 * An event as clients get it: none of what servers need, `unsigned` our own. A redaction names its target in
 * both places, as the client-server API asks for the sake of clients that know only one.
 */
export function toClientEvent(
  event: JsonObject,
  eventId: string,
  options: ClientEventOptions = {},
): JsonObject {
  const client: JsonObject = {
    type: event.type ?? '',
    sender: event.sender ?? '',
    content: isObject(event.content) ? event.content : {},
    origin_server_ts: event.origin_server_ts ?? 0,
    event_id: eventId,
    unsigned: unsignedOf(event, options),
  };
  if (typeof event.state_key === 'string') client.state_key = event.state_key;
  if (typeof options.roomId === 'string') client.room_id = options.roomId;
  if (event.type === 'm.room.redaction') nameTargetTwice(client, event, options.redactsPlace);
  return client;
}

/**
 * An event for a client whose filter says `event_format: federation`: the PDU, with ID, room and age. A redaction
 * names its target twice here too, as Synapse has it.
 */
export function federationFormat(
  pdu: JsonObject,
  eventId: string,
  options: ClientEventOptions = {},
): JsonObject {
  const event: JsonObject = { ...pdu, event_id: eventId, unsigned: unsignedOf(pdu, options) };
  if (typeof options.roomId === 'string') event.room_id = options.roomId;
  if (pdu.type === 'm.room.redaction') nameTargetTwice(event, pdu, options.redactsPlace);
  return event;
}

function unsignedOf(event: JsonObject, options: ClientEventOptions): JsonObject {
  const sent = event.origin_server_ts;
  if (options.age !== undefined) return { age: options.age };
  if (options.now === undefined || typeof sent !== 'number') return {};
  return { age: Math.max(0, options.now - sent) };
}

function nameTargetTwice(
  client: JsonObject,
  event: JsonObject,
  place: ClientEventOptions['redactsPlace'],
): void {
  const content = isObject(client.content) ? client.content : {};
  const target =
    place === 'content'
      ? content.redacts
      : place === 'event'
        ? event.redacts
        : (event.redacts ?? content.redacts);
  if (typeof target !== 'string') return;
  client.redacts = target;
  client.content = { ...content, redacts: target };
}
