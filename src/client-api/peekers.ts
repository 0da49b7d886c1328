import type { IncomingMessage } from 'node:http';
import { deviceHash, unwrapToken } from '../client-sync/sync-token.ts';
import { callerOf, forwardedFor } from '../client-view/client-request.ts';
import { parseRemoteHistoryToken } from '../client-view/history-token.ts';
import type { DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Homeserver, Identity } from '../homeserver/homeserver.ts';
import { deviceOf, type Peeker } from '../peeking/peeking.ts';
import type { DevicePeek } from '../store/store.ts';

/** Who else may be reading a room by us than a device that peeks into it: somebody to whom it is previewed. */
export interface RoomViewers {
  /** Whether anybody is shown any room. */
  readonly anyone: boolean;
  /** Whether the user is shown this room just now. From memory: it is asked for many requests. */
  mayRead(who: Identity, roomId: string): boolean;
}

/** Somebody who reads a room by us. */
export interface RoomPeeker {
  readonly who: Peeker;
  /** The device's live peek; null for a preview. */
  readonly peek: DevicePeek | null;
}

export interface PeekersDeps {
  readonly homeserver: Pick<Homeserver, 'whoami' | 'remembered'>;
  readonly devicePeeks: Pick<DevicePeeks, 'mayPeek' | 'of' | 'anyPeeks'>;
  readonly trusted: TrustedProxies;
  readonly viewers: readonly RoomViewers[];
}

/** Whether who sends a request peeks into the room that it is about. */
export class Peekers {
  readonly #deps: PeekersDeps;

  constructor(deps: PeekersDeps) {
    this.#deps = deps;
  }

  /** False: the caller is known, and peeks into nothing. Costs nothing; true says only that it has to be looked up. */
  mayBeOne(req: IncomingMessage, roomId: string): boolean {
    const { homeserver, devicePeeks, viewers } = this.#deps;
    if (!devicePeeks.anyPeeks && !viewers.some(({ anyone }) => anyone)) return false;
    const known = homeserver.remembered(callerOf(req, null));
    if (known === null) return true;
    return devicePeeks.mayPeek(deviceOf(known)) || viewers.some((one) => one.mayRead(known, roomId));
  }

  /** Null when the caller does not peek into the room. Rejects where the homeserver or the store does. */
  async of(req: IncomingMessage, roomId: string): Promise<RoomPeeker | null> {
    const { homeserver, devicePeeks, trusted, viewers } = this.#deps;
    const caller = callerOf(req, forwardedFor(req, trusted));
    const who = { ...(await homeserver.whoami(caller)), caller };
    const device = deviceOf(who);
    if (devicePeeks.mayPeek(device)) {
      const peeks = await devicePeeks.of(device);
      const peek = peeks.find((held) => held.roomId === roomId && held.ended === null);
      if (peek !== undefined) return { who, peek };
    }
    return viewers.some((one) => one.mayRead(who, roomId)) ? { who, peek: null } : null;
  }
}

/**
 * How far a token has read the room: a history token of ours, or a token of this device's `/sync`. What the log does
 * not hold lies before 0, or in a hole of it.
 */
export function positionOf(token: string, { who, peek }: RoomPeeker): number | null {
  const inHistory = parseRemoteHistoryToken(token);
  if (inHistory !== null) return inHistory.kind === 'log' ? inHistory.position : inHistory.onward;
  if (peek === null) return null;
  const { ours } = unwrapToken(token);
  const device = deviceOf(who);
  if (ours?.device !== deviceHash(device.userId, device.deviceId)) return null;
  return ours.peeks.get(peek.instance) ?? null;
}
