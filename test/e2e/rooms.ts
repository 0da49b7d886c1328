import {
  type ClientEvent,
  enc,
  type MatrixClient,
  type SyncAnswer,
  type SyncRoom,
} from '../support/client.ts';

export type Section = keyof SyncAnswer['rooms'];

/** The room as this answer has it in the section; throws where it is not there. */
export function sectionOf(answer: SyncAnswer, section: Section, roomId: string): SyncRoom {
  const room = answer.rooms[section][roomId];
  if (!room) throw new Error(`${roomId} is not in rooms.${section}: ${answer.answer.text.slice(0, 500)}`);
  return room;
}

export function timelineOf(room: SyncRoom | undefined): readonly ClientEvent[] {
  return room?.timeline?.events ?? [];
}

export function stateOf(room: SyncRoom | undefined): readonly ClientEvent[] {
  return room?.state?.events ?? [];
}

export function idsOf(events: readonly ClientEvent[]): string[] {
  return events.map(({ event_id }) => event_id);
}

/** Every room that this answer speaks of, in whichever section. */
export function roomsNamed(answer: SyncAnswer): string[] {
  return Object.values(answer.rooms).flatMap((rooms) => Object.keys(rooms));
}

/** What a client takes for the room's current state: the section's state, and the timeline on top of it. */
export function stateAfter(room: SyncRoom): Map<string, string> {
  return stateMap([...stateOf(room), ...timelineOf(room)]);
}

/** The current state as the homeserver gives it to a member. */
export async function homeserverState(member: MatrixClient, roomId: string): Promise<Map<string, string>> {
  const answer = await member.request('GET', `/v3/rooms/${enc(roomId)}/state`);
  if (answer.status !== 200) throw new Error(`No state: ${answer.status} ${answer.text}`);
  return stateMap(JSON.parse(answer.text) as ClientEvent[]);
}

/** The newest `limit` events as the homeserver gives them to a member, oldest first. */
export async function homeserverTimeline(
  member: MatrixClient,
  roomId: string,
  limit: number,
): Promise<ClientEvent[]> {
  const { chunk } = await member.require('GET', `/v3/rooms/${enc(roomId)}/messages?dir=b&limit=${limit}`);
  return (chunk as ClientEvent[]).toReversed();
}

/** The section as it can be compared: without events' ages, its state (which has no order) by event ID. */
export function comparable(room: SyncRoom | undefined): unknown {
  const state = stateOf(room).toSorted((one, other) => (one.event_id < other.event_id ? -1 : 1));
  return JSON.parse(
    JSON.stringify({ ...room, state }, (key, value: unknown) => (key === 'age' ? undefined : value)),
  );
}

function stateMap(events: readonly ClientEvent[]): Map<string, string> {
  const current = new Map<string, string>();
  for (const { type, state_key, event_id } of events) {
    if (state_key !== undefined) current.set(`${type} ${state_key}`, event_id);
  }
  return new Map([...current].sort(([one], [other]) => (one < other ? -1 : 1)));
}
