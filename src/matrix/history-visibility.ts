import type { JsonObject } from './json.ts';

export type HistoryVisibility = 'world_readable' | 'shared' | 'invited' | 'joined';

/**
 * What the content of `m.room.history_visibility` says; null for a room that has no such event. Missing or
 * malformed means `shared` (specification, client-server API, "Room History Visibility").
 */
export function historyVisibilityOf(content: JsonObject | null): HistoryVisibility {
  const value = content?.history_visibility;
  return value === 'world_readable' || value === 'invited' || value === 'joined' ? value : 'shared';
}
