import type { Notice, Store } from '../store/store.ts';
import { Destination, type DestinationDeps } from './destination.ts';

interface SenderDeps extends Omit<DestinationDeps, 'store'> {
  readonly store: Pick<Store, 'inboundPeeks' | 'logs' | 'leases' | 'subscribe'>;
}

interface Running {
  readonly destination: Destination;
  readonly done: Promise<void>;
}

/**
 * Relays rooms to the servers that peek them. A server with nothing to be sent costs an entry in a set: it is
 * woken by the store's notices, and its destination lives until it has caught up.
 */
export class Sender {
  readonly #deps: SenderDeps;
  readonly #peekers = new Map<string, Set<string>>();
  readonly #running = new Map<string, Running>();
  #unsubscribe: (() => void) | null = null;
  #stopped = false;

  constructor(deps: SenderDeps) {
    this.#deps = deps;
  }

  /** Begins with all that an earlier run left unsent. Rejects with `StoreDownError`. */
  async start(): Promise<void> {
    this.#unsubscribe = this.#deps.store.subscribe((notice) => this.#notice(notice));
    const { inboundPeeks } = this.#deps.store;
    for (const { server, roomId } of await inboundPeeks.cursors()) this.#index(server, roomId, true);
    for (const server of await inboundPeeks.servers()) this.wake(server, null);
  }

  /** Ends all loops; what is under way is sent again, in full, by the next run. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe?.();
    const running = [...this.#running.values()];
    for (const { destination } of running) destination.stop();
    await Promise.all(running.map(({ done }) => done));
  }

  /** There may be something to send to `server`, in one room or in any (null). */
  wake(server: string, roomId: string | null): void {
    if (this.#stopped) return;
    const running = this.#running.get(server);
    if (running !== undefined) {
      running.destination.wake(roomId);
      return;
    }
    const destination = new Destination(server, {
      ...this.#deps,
      finished: (roomId) => {
        void this.#reindex(server, roomId);
        this.#deps.finished(roomId);
      },
    });
    destination.wake(roomId);
    const done = destination.run().then(() => this.#ended(server, destination));
    this.#running.set(server, { destination, done });
  }

  #ended(server: string, destination: Destination): void {
    this.#running.delete(server);
    if (destination.unfinished && !this.#stopped) this.wake(server, null);
  }

  #notice(notice: Notice): void {
    if (notice.kind === 'log') {
      for (const server of this.#peekers.get(notice.roomId) ?? []) this.wake(server, notice.roomId);
    } else if (notice.kind === 'inbound') {
      // Nearly always a call of that server's, here or in another process: it is up, so no back-off goes on.
      this.#running.get(notice.server)?.destination.heard();
      void this.#reindex(notice.server, notice.roomId).then(() => this.wake(notice.server, notice.roomId));
    }
  }

  async #reindex(server: string, roomId: string): Promise<void> {
    try {
      const cursors = await this.#deps.store.inboundPeeks.cursorsOf(server);
      this.#index(
        server,
        roomId,
        cursors.some((cursor) => cursor.roomId === roomId),
      );
    } catch {
      // Better a look too many than a room that is never looked at.
      this.#index(server, roomId, true);
    }
  }

  #index(server: string, roomId: string, present: boolean): void {
    const servers = this.#peekers.get(roomId) ?? new Set();
    if (present) servers.add(server);
    else servers.delete(server);
    if (servers.size > 0) this.#peekers.set(roomId, servers);
    else this.#peekers.delete(roomId);
  }
}
