import type { Store } from '../store/store.ts';

/** How long what a server could not be sent is kept for it: longer than an outage that is repaired. */
const OWED_MS = 24 * 3_600_000;

/**
 * Gives up what has been owed to servers for a day: announcements of evicted peeks, and the last events of rooms
 * that have closed. Returns the rooms that are owed less now. (Peeks that go on end by not being renewed.)
 */
export async function dropOverdue(
  store: Pick<Store, 'inboundPeeks' | 'logs'>,
  now: number,
): Promise<string[]> {
  const { inboundPeeks, logs } = store;
  const due = now - OWED_MS;
  await inboundPeeks.dropAnnouncements(due);
  const rooms: string[] = [];
  for (const { server, roomId, stopAt } of await inboundPeeks.cursors()) {
    if (stopAt === null) continue;
    const [last] = await logs.readLast(roomId, stopAt, 1);
    if (last !== undefined && last.receivedAt > due) continue;
    await inboundPeeks.advance(server, roomId, stopAt);
    rooms.push(roomId);
  }
  return rooms;
}
