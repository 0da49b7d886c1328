import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isRoomId } from '../matrix/ids.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Residency } from '../peeking/residency.ts';

const JOIN = /^\/_matrix\/client\/(?:r0|v3|unstable|api\/v1)\/(?:join\/([^/]+)|rooms\/([^/]+)\/join)$/;

/**
 * Notes that the homeserver is joining a room we peek into: from the request on its transactions are the
 * homeserver's too, until the join has failed.
 */
export class JoinWatch {
  readonly #homeserver: Homeserver;
  readonly #outbound: OutboundPeeks;
  readonly #residency: Residency;

  constructor(homeserver: Homeserver, outbound: OutboundPeeks, residency: Residency) {
    this.#homeserver = homeserver;
    this.#outbound = outbound;
    this.#residency = residency;
  }

  /** To be called before the request is passed on. Never holds it up. */
  see(req: IncomingMessage, res: ServerResponse): void {
    if (req.method !== 'POST' || this.#outbound.count === 0) return;
    const match = JOIN.exec((req.url ?? '').split('?', 1)[0] ?? '');
    const segment = match?.[1] ?? match?.[2];
    if (segment === undefined) return;
    const named = decode(segment);
    if (isRoomId(named)) this.#joining(named, res);
    else void this.#joiningByAlias(named, res);
  }

  async #joiningByAlias(alias: string, res: ServerResponse): Promise<void> {
    const found = await this.#homeserver.resolveAlias(alias).catch(() => null);
    if (found !== null) this.#joining(found.roomId, res);
  }

  #joining(roomId: string, res: ServerResponse): void {
    if (!this.#outbound.isPeeked(roomId)) return;
    const join = this.#residency.joining(roomId);
    const settle = () => {
      if (res.statusCode >= 400) join.failed();
    };
    if (res.writableFinished) settle();
    else res.once('finish', settle);
  }
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
