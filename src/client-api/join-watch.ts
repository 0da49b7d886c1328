import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isRoomAlias, isRoomId } from '../matrix/ids.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { BecomingResident } from '../peeking/becoming-resident.ts';
import type { Residency } from '../peeking/residency.ts';
import { whenAnswered } from './when-answered.ts';

const JOIN = /^\/_matrix\/client\/(?:r0|v3|unstable|api\/v1)\/(?:join\/([^/]+)|rooms\/([^/]+)\/join)$/;

/**
 * Notes that the homeserver is joining a room we peek into: from the request on its transactions are the
 * homeserver's too, until the join has failed; if it names the room by an alias, from the moment it has succeeded.
 * When it has succeeded, the homeserver is to feed the room.
 */
export class JoinWatch {
  readonly #homeserver: Homeserver;
  readonly #outbound: OutboundPeeks;
  readonly #residency: Residency;
  readonly #becoming: BecomingResident;

  constructor(deps: {
    readonly homeserver: Homeserver;
    readonly outbound: OutboundPeeks;
    readonly residency: Residency;
    readonly becomingResident: BecomingResident;
  }) {
    this.#homeserver = deps.homeserver;
    this.#outbound = deps.outbound;
    this.#residency = deps.residency;
    this.#becoming = deps.becomingResident;
  }

  /** To be called before the request is passed on. Never holds it up. */
  see(req: IncomingMessage, res: ServerResponse): void {
    if (req.method !== 'POST' || this.#outbound.count === 0) return;
    const match = JOIN.exec((req.url ?? '').split('?', 1)[0] ?? '');
    const segment = match?.[1] ?? match?.[2];
    if (segment === undefined) return;
    const named = decode(segment);
    if (isRoomId(named)) this.#joining(named, res);
    // Anybody may ask to join: an alias is looked up only for whom the homeserver has let in.
    else if (isRoomAlias(named)) whenAnswered(res, (ok) => ok && void this.#joined(named));
  }

  #joining(roomId: string, res: ServerResponse): void {
    if (!this.#outbound.isPeeked(roomId)) return;
    const join = this.#residency.joining(roomId);
    whenAnswered(res, (ok) => (ok ? this.#becoming.suspect(roomId) : join.failed()));
  }

  async #joined(alias: string): Promise<void> {
    const found = await this.#homeserver.resolveAlias(alias).catch(() => null);
    if (found === null || !this.#outbound.isPeeked(found.roomId)) return;
    this.#residency.joining(found.roomId);
    this.#becoming.suspect(found.roomId);
  }
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
