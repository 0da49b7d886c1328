import type { JsonObject } from '../../src/matrix/json.ts';
import { PEER, type PeekingHouse } from './peeking-house.ts';
import type { BuiltEvent, RoomBuilder } from './room-builder.ts';

export interface PastOptions {
  readonly server?: string;
  /** What of the room the server has; default all. */
  readonly has?: (event: BuiltEvent) => boolean;
  /** As it gives them; default as they are. */
  readonly gives?: (event: BuiltEvent) => JsonObject;
}

/**
 * Lets a server tell the past of a room as homeservers do: `backfill` (newest first, following `prev_events` by depth),
 * `event`, `event_auth` and `state_ids`.
 */
export function tellsPast(house: PeekingHouse, room: RoomBuilder, options: PastOptions = {}): void {
  const { server = PEER, has = () => true, gives = ({ pdu }: BuiltEvent) => pdu } = options;
  const find = (eventId: string | undefined) =>
    room.events.find((event) => event.eventId === eventId && has(event));
  house.remote.on(server, 'GET', '/backfill/', ({ query }) => {
    const open = new Map(query.getAll('v').map((id) => [id, find(id)]));
    const told: BuiltEvent[] = [];
    while (told.length < Number(query.get('limit'))) {
      const next = [...open.values()]
        .filter((event) => event !== undefined && !told.includes(event))
        .toSorted((a, b) => Number(b?.pdu.depth) - Number(a?.pdu.depth))[0];
      if (next === undefined) break;
      told.push(next);
      for (const id of previousOf(next)) open.set(id, find(id));
    }
    return { pdus: told.map(gives) };
  });
  house.remote.on(server, 'GET', '/event/', ({ path }) => {
    const event = find(path.split('/event/')[1]);
    return { pdus: event === undefined ? [] : [gives(event)] };
  });
  house.remote.on(server, 'GET', '/event_auth/', { auth_chain: room.authChain.map(({ pdu }) => pdu) });
  house.remote.on(server, 'GET', '/state_ids/', ({ query }) => {
    const state = stateBefore(room, String(query.get('event_id')));
    return { pdu_ids: [...state.values()], auth_chain_ids: [] };
  });
}

/** The IDs of the state before an event: what the events that it follows have set, the later ones last. */
function stateBefore(room: RoomBuilder, eventId: string): Map<string, string> {
  const before = new Set<string>();
  const waiting = [eventId];
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    const event = room.events.find((one) => one.eventId === id);
    for (const previous of event === undefined ? [] : previousOf(event)) {
      if (!before.has(previous)) waiting.push(previous);
      before.add(previous);
    }
  }
  const state = new Map<string, string>();
  for (const { eventId: id, pdu } of room.events) {
    if (before.has(id) && typeof pdu.state_key === 'string') state.set(`${pdu.type} ${pdu.state_key}`, id);
  }
  return state;
}

function previousOf({ pdu }: BuiltEvent): string[] {
  return (pdu.prev_events as (string | [string])[]).map((id) => (typeof id === 'string' ? id : id[0]));
}
