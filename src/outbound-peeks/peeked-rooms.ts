import type { OutboundPeek } from '../store/store.ts';
import type { Standing } from './standing.ts';

/** A room as the operator is shown it. */
export interface PeekedRoom {
  readonly room: string;
  readonly through: readonly PeekedServer[];
}

interface PeekedServer {
  readonly server: string;
  readonly heard: string;
  /** Null while there is nothing to renew, since nobody lets us. */
  readonly renewal: string | null;
  /** It did not answer when it was last asked, or neither it nor another server lets us peek the room. */
  readonly failing: boolean;
  readonly reason?: 'does not answer' | 'does not let us';
  /** When the room is asked for again, after nobody has let us. */
  readonly again?: string;
}

type Rooms = Iterable<readonly [roomId: string, peeks: readonly OutboundPeek[]]>;

/** The rooms and their servers, those with a failing server first, at most `limit`. */
export function peekedRooms(rooms: Rooms, standing: Standing, limit: number): PeekedRoom[] {
  const shown = [...rooms].map(([room, peeks]) => ({
    room,
    through: peeks.map((peek) => peekedServer(peek, standing)),
  }));
  const failing = ({ through }: PeekedRoom) => through.some((one) => one.failing);
  return shown.toSorted((a, b) => Number(failing(b)) - Number(failing(a))).slice(0, limit);
}

/** How many rooms are peeked through no server but failing ones. */
export function countFailing(rooms: Rooms, standing: Standing): number {
  let failing = 0;
  for (const [, peeks] of rooms) if (peeks.every((peek) => standing.isFailing(peek))) failing++;
  return failing;
}

function peekedServer(peek: OutboundPeek, standing: Standing): PeekedServer {
  const again = standing.asksAgainAt(peek.peekId);
  const failing = standing.isFailing(peek);
  const reason = standing.isTroubled(peek.server) ? 'does not answer' : 'does not let us';
  return {
    server: peek.server,
    heard: timeOf(peek.heardAt),
    renewal: again === null ? timeOf(peek.renewAt) : null,
    failing,
    ...(failing ? { reason } : {}),
    ...(again === null ? {} : { again: timeOf(again) }),
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
