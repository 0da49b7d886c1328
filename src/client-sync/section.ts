import { matchesEvent, pickFields, type SyncFilter } from '../client-view/filter.ts';
import type { JsonObject } from '../matrix/json.ts';

/** What a section is made of: events as the client gets them (its `event_format` already applied). */
export interface SectionContent {
  /** For the room lists inside `timeline` and `state` of a filter; events of `/sync` do not name their room. */
  readonly roomId?: string;
  /** At the start of the timeline, or at its end where state is asked for *after* it. */
  readonly state: readonly JsonObject[];
  /** Oldest first, already cut to the filter's limit. */
  readonly timeline: readonly JsonObject[];
  readonly limited: boolean;
  readonly prevBatch: string;
}

/**
 * An entry of `rooms.peek` (or `rooms.leave`): of what `rooms.join` has, the timeline and the state, and nothing
 * else. With `useStateAfter` the state is under the name that MSC4222 gives it. With `lazy_load_members`, member
 * events in the state are those of the timeline's senders alone.
 */
export function renderSection(
  content: SectionContent,
  filter: SyncFilter,
  useStateAfter: boolean,
): JsonObject {
  const { roomId } = content;
  const timeline = content.timeline.filter((event) => matchesEvent(filter.timeline, event, roomId));
  const senders = new Set(timeline.map((event) => event.sender));
  const state = content.state.filter((event) => {
    if (filter.lazyLoadMembers && event.type === 'm.room.member' && !senders.has(event.state_key ?? null))
      return false;
    return matchesEvent(filter.state, event, roomId);
  });
  const shown = (events: JsonObject[]) => events.map((event) => pickFields(event, filter.eventFields));
  return {
    timeline: { events: shown(timeline), limited: content.limited, prev_batch: content.prevBatch },
    [useStateAfter ? 'org.matrix.msc4222.state_after' : 'state']: { events: shown(state) },
  };
}
