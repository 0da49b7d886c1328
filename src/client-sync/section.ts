import { matchesEvent, passesNone, pickFields, type SyncFilter } from '../client-view/filter.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import type { StateName } from './state-names.ts';

/** An event of a section, as the client gets it but for the choice of fields. */
export interface SectionEvent {
  readonly eventId: string;
  /** Of a state event, as `stateSlot` has it; null for others, and for state that lost. */
  readonly slot: string | null;
  readonly event: JsonObject;
}

/** What a section is made of, in the format that the filter asks for. */
export interface SectionContent {
  /** For the room lists inside `state` of a filter; events of `/sync` do not name their room. */
  readonly roomId: string;
  /** At the start of the timeline, or at its end where state is asked for *after* it. */
  readonly state: readonly SectionEvent[];
  /** Oldest first, filtered and cut to the limit. */
  readonly timeline: readonly SectionEvent[];
  readonly limited: boolean;
  readonly prevBatch: string;
}

export interface RenderedSection {
  readonly section: JsonObject;
  /** It has no event: nothing to tell. */
  readonly isEmpty: boolean;
  /** What the device has as the room's state from it, slot → event ID. */
  readonly told: ReadonlyMap<string, string>;
}

/**
 * An entry of `rooms.peek` (or `rooms.leave`): of what `rooms.join` has, the timeline and the state, and nothing
 * else; the state under the name that was asked for.
 */
export function renderSection(
  content: SectionContent,
  filter: SyncFilter,
  stateName: StateName,
): RenderedSection {
  const { roomId, timeline } = content;
  const state = content.state.filter(({ event }) => matchesEvent(filter.state, event, roomId));
  const shown = (events: readonly SectionEvent[]) =>
    events.map(({ event }) => withFields(event, filter.eventFields));
  const told = new Map<string, string>();
  // With state *after* the timeline, clients do not take state out of the timeline.
  for (const { slot, eventId } of stateName === 'state' ? [...state, ...timeline] : state) {
    if (slot !== null) told.set(slot, eventId);
  }
  return {
    section: {
      timeline: {
        events: shown(timeline),
        // Nobody is to page back for what they do not want at all; so does Synapse.
        limited: content.limited && !passesNone(filter.timeline, roomId),
        prev_batch: content.prevBatch,
      },
      [stateName]: { events: shown(state) },
    },
    isEmpty: timeline.length === 0 && state.length === 0,
    told,
  };
}

/** The fields that are wanted, and what is bundled, which Synapse adds afterwards. */
export function withFields(event: JsonObject, fields: SyncFilter['eventFields']): JsonObject {
  const picked = pickFields(event, fields);
  const relations = isObject(event.unsigned) ? event.unsigned['m.relations'] : undefined;
  if (picked === event || relations === undefined) return picked;
  const unsigned = isObject(picked.unsigned) ? picked.unsigned : {};
  return { ...picked, unsigned: { ...unsigned, 'm.relations': relations } };
}
