import { matchesEvent, matchesRelations, passesAll, type SyncFilter } from '../client-view/filter.ts';
import type { IgnoredSenders } from '../client-view/ignored-users.ts';
import { Relations } from '../client-view/relations.ts';
import { pduOf } from '../rooms/log-entries.ts';
import type { Selection } from '../rooms/timeline.ts';

/**
 * Of which events a request wants a room's timeline: what its filter lets through and does not come from somebody
 * whom the user ignores, before a limit counts them.
 */
export function selectionOf(
  { filter, ignored }: { readonly filter: SyncFilter; readonly ignored: IgnoredSenders },
  roomId: string,
  defaultLimit: number,
): Selection {
  const limit = filter.timelineLimit ?? defaultLimit;
  if (passesAll(filter.timeline) && ignored.size === 0) return { limit };
  return {
    limit,
    select: (shown) => {
      let relations: Relations | null = null;
      const related = () => {
        relations ??= new Relations(shown.map((entry) => ({ eventId: entry.eventId, pdu: pduOf(entry) })));
        return relations;
      };
      return shown.filter((entry) => {
        const pdu = pduOf(entry);
        if (ignored.hides(pdu) || !matchesEvent(filter.timeline, pdu, roomId)) return false;
        return matchesRelations(filter.timeline, entry.eventId, related);
      });
    },
  };
}
