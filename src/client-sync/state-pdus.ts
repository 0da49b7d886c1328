import type { Homeserver } from '../homeserver/homeserver.ts';
import { eventIdOf } from '../matrix/event-id.ts';
import type { JsonObject } from '../matrix/json.ts';
import { roomVersion } from '../matrix/room-versions.ts';
import { eachInTurns } from '../platform/turns.ts';
import type { StateEvent } from '../rooms/state-at.ts';
import type { RoomLog } from '../store/store.ts';

/** So few are asked for one by one. */
const FEW = 20;

/**
 * The PDUs of state events of a resident room, for clients that want them in federation format: the homeserver
 * shows state to the reader in client format alone. Which events they may see was decided before. Those that the
 * homeserver does not give are missing. Rejects with `HomeserverDown`.
 */
export async function statePdus(
  homeserver: Homeserver,
  { roomId, roomVersion: version }: RoomLog,
  events: readonly StateEvent[],
): Promise<Map<string, JsonObject>> {
  const pdus = new Map<string, JsonObject>();
  const missing = new Set(events.map(({ eventId }) => eventId));
  const take = (eventId: string, pdu: JsonObject) => {
    if (missing.delete(eventId)) pdus.set(eventId, pdu);
  };
  const rules = roomVersion(version);
  if (missing.size > FEW && rules !== undefined) {
    const [latest] = (await homeserver.extremities(roomId)).eventIds;
    const { state } = latest === undefined ? { state: [] } : await homeserver.stateBefore(roomId, latest);
    await eachInTurns(state, (pdu) => take(eventIdOf(pdu, rules), pdu));
  }
  if (missing.size > FEW * 5) return pdus;
  const asked = [...missing].map(async (eventId) => {
    const pdu = await homeserver.event(eventId);
    if (pdu !== null) take(eventId, pdu);
  });
  await Promise.all(asked);
  return pdus;
}
