import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { RemoteRefusal, type RemoteServers } from '../remote-servers/remote-servers.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import type { PeekRequests } from './peek-requests.ts';
import { takesEachPutAnew } from './peer-manners.ts';

export interface EndingsDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Ends peeks at the servers peeked through. */
export class Endings {
  readonly #deps: EndingsDeps;
  readonly #requests: PeekRequests;
  readonly #finishing = new SingleFlight<void>();

  constructor(deps: EndingsDeps, requests: PeekRequests) {
    this.#deps = deps;
    this.#requests = requests;
  }

  /**
   * Sends the `DELETE` that a peek in phase `ending` is owed, and forgets the peek once it is gone there. To a
   * server that has failed it is sent again when that server's back-off is over, until the peek has ended there
   * for want of renewal: less than two hours.
   */
  finish(peek: OutboundPeek, now: number): Promise<void> {
    return this.#finish(peek, now, true);
  }

  #finish(peek: OutboundPeek, now: number, patient: boolean): Promise<void> {
    const { roomId, server, peekId, how } = peek;
    return this.#finishing.run(`${roomId} ${peekId}`, async () => {
      // By then the peeked server has evicted it for want of renewal.
      const evicted = peek.renewAt + peek.renewalIntervalMs <= now;
      if (evicted || how !== 'put' || (await this.#end(roomId, server, peekId, patient))) {
        await this.#deps.store.outboundPeeks.remove(roomId, peekId);
      }
    });
  }

  /** The same at once, where nobody waits for it; the next sweep makes up for a failure. */
  finishQuietly(peek: OutboundPeek): void {
    this.#finish(peek, this.#deps.clock.now(), false).catch((error: unknown) => {
      this.#deps.logger.warn(
        { room: peek.roomId, server: peek.server, reason: String(error) },
        'a peek that has ended could not be forgotten; the next sweep does it',
      );
    });
  }

  /** Ends a peek that was begun and never kept. One that cannot be ended is not renewed, and so evicted. */
  endQuietly(roomId: string, server: string, peekId: string | undefined): void {
    if (peekId !== undefined) void this.#end(roomId, server, peekId, false);
  }

  /** True when the peek is gone at the other end, or cannot be ended there. Never rejects. */
  async #end(roomId: string, server: string, peekId: string, patient: boolean): Promise<boolean> {
    const { remote, logger } = this.#deps;
    try {
      if (patient && remote.availableIn(server) > 0) return false;
      if (await takesEachPutAnew(remote, server)) return true;
      await this.#requests.delete(server, roomId, peekId, patient);
      return true;
    } catch (error) {
      if (error instanceof RemoteRefusal && error.status < 500 && error.status !== 429) return true;
      logger.info(
        { room: roomId, server, reason: String(error) },
        'a peek could not be ended at the peeked server; it is tried again',
      );
      return false;
    }
  }
}
