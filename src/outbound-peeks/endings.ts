import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { RemoteRefusal, type RemoteServers } from '../remote-servers/remote-servers.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import { Patience } from './patience.ts';
import type { PeekRequests } from './peek-requests.ts';
import { takesEachPutAnew } from './peer-manners.ts';

export interface EndingsDeps {
  readonly store: Store;
  readonly remote: RemoteServers;
  readonly feed: Pick<RemoteFeed, 'meanwhile'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Ends peeks at the servers peeked through. */
export class Endings {
  readonly #deps: EndingsDeps;
  readonly #requests: PeekRequests;
  readonly #finishing = new SingleFlight<boolean>();
  readonly #patience = new Patience();

  constructor(deps: EndingsDeps, requests: PeekRequests) {
    this.#deps = deps;
    this.#requests = requests;
  }

  /**
   * Sends the `DELETE` that a peek in phase `ending` is owed, and forgets the peek once it is gone there. Where it
   * fails it is sent again after a minute, then ever more seldom, and while the server's back-off runs not at all,
   * until the peek has ended there for want of renewal: some fifteen times in less than two hours.
   */
  async finish(peek: OutboundPeek, now: number): Promise<void> {
    const key = keyOf(peek);
    const isIdle = this.#deps.remote.availableIn(peek.server) > 0 || !this.#patience.mayTry(key, now);
    if (isIdle && !isEvicted(peek, now)) return;
    if (await this.#finish(peek, now)) this.#patience.succeeded(key);
    else this.#patience.failed(key, now);
  }

  #finish(peek: OutboundPeek, now: number): Promise<boolean> {
    const { roomId, server, peekId, how } = peek;
    return this.#finishing.run(keyOf(peek), async () => {
      const gone = isEvicted(peek, now) || how !== 'put' || (await this.#end(roomId, server, peekId));
      if (gone) await this.#forget(roomId, peekId);
      return gone;
    });
  }

  /** A replica is stored before its log, and after the peek: a crash between the two leaves it to the peek's end. */
  async #forget(roomId: string, peekId: string): Promise<void> {
    const { store, feed } = this.#deps;
    await feed.meanwhile(roomId, async () => {
      if ((await store.logs.get(roomId)) === null) await store.replicas.drop(roomId);
    });
    await store.outboundPeeks.remove(roomId, peekId);
  }

  /** The same at once, where nobody waits for it; the next sweep makes up for a failure. */
  finishQuietly(peek: OutboundPeek): void {
    this.#finish(peek, this.#deps.clock.now()).catch((error: unknown) => {
      this.#deps.logger.warn(
        { room: peek.roomId, server: peek.server, reason: String(error) },
        'a peek that has ended could not be forgotten; the next sweep does it',
      );
    });
  }

  /**
   * Ends a peek that was begun and never kept. One that cannot be ended is not renewed, and so evicted; so is one
   * at a server that does not say what it is, to which a `DELETE` might be a second `PUT` with the same ID.
   */
  endQuietly(roomId: string, server: string, peekId: string | undefined): void {
    if (peekId !== undefined) void this.#endIfKnown(roomId, server, peekId);
  }

  async #endIfKnown(roomId: string, server: string, peekId: string): Promise<void> {
    if ((await this.#deps.remote.software(server)) !== null) await this.#end(roomId, server, peekId);
  }

  /** True when the peek is gone at the other end, or cannot be ended there. Never rejects. */
  async #end(roomId: string, server: string, peekId: string): Promise<boolean> {
    const { remote, logger } = this.#deps;
    try {
      if (await takesEachPutAnew(remote, server)) return true;
      await this.#requests.delete(server, roomId, peekId);
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

/** By then the peeked server has evicted it for want of renewal. */
function isEvicted(peek: OutboundPeek, now: number): boolean {
  return peek.renewAt + peek.renewalIntervalMs <= now;
}

function keyOf({ roomId, peekId }: OutboundPeek): string {
  return `${roomId} ${peekId}`;
}
