import { historyVisibilityOf } from '../matrix/history-visibility.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';

/** Why a room may not be peeked, or null when it may: MSC2753 asks for world-readable; encrypted rooms are refused. */
export function whyNotPeekable(state: {
  readonly visibility: JsonObject | null;
  readonly encryption: JsonObject | null;
}): string | null {
  const content = state.visibility?.content;
  if (historyVisibilityOf(isObject(content) ? content : null) !== 'world_readable') {
    return 'The history of this room is not world-readable';
  }
  if (state.encryption !== null) return 'This room is encrypted';
  return null;
}

/** Whether this event is where a room stops being peekable, with the reason; null when it is not. */
export function closingReason(event: JsonObject): 'visibility' | 'encryption' | null {
  if (event.state_key !== '') return null;
  if (event.type === 'm.room.encryption') return 'encryption';
  if (event.type !== 'm.room.history_visibility') return null;
  return historyVisibilityOf(isObject(event.content) ? event.content : null) === 'world_readable'
    ? null
    : 'visibility';
}

/**
 * Whether homeservers keep events of this type from all clients. Synapse's dummy events only tie the branches of a
 * room together, and `m.room.aliases` is of a time when servers themselves sent it (MSC2432); a peeked server relays
 * them like all others.
 */
export function isHiddenFromClients({ type }: { readonly type: string }): boolean {
  return type === 'org.matrix.dummy_event' || type === 'm.room.aliases';
}
