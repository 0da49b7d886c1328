import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { serverNameOf } from '../matrix/ids.ts';
import { isObject } from '../matrix/json.ts';
import { compileServerAcl } from '../matrix/server-acl.ts';
import type { Clock } from '../platform/clock.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import type { Store } from '../store/store.ts';
import { pduOf } from './log-entries.ts';

/** How long a room's members are not counted again: who is asked in place of a server need not be of this minute. */
const LIFETIME_MS = 15 * 60_000;
const MAX_ROOMS = 1000;
/** Servers that are remembered of a room; enough to ask one after the other, whatever the room has. */
const MOST_SERVERS = 50;

interface Counted {
  readonly servers: readonly string[];
  readonly until: number;
}

/**
 * The servers whose users are joined to a remote room, as its replica has it: who else may be asked about the
 * room. Counted once in a quarter of an hour, however often it is asked.
 */
export class MemberServers {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #ownName: string;
  readonly #counted = new LRUCache<string, Counted>({ max: MAX_ROOMS });
  readonly #counting = new SingleFlight<Counted>();

  constructor(deps: { readonly store: Store; readonly clock: Clock; readonly serverName: string }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#ownName = deps.serverName;
  }

  /**
   * At most `limit` (and 50) servers, most members first, without ourselves and those that the room's ACL
   * denies now; `[]` where there is no replica. Rejects with `StoreDownError`.
   */
  async of(roomId: string, limit = MOST_SERVERS): Promise<string[]> {
    const held = this.#counted.get(roomId);
    const counted =
      held !== undefined && this.#clock.now() < held.until
        ? held
        : await this.#counting.run(roomId, () => this.#count(roomId));
    if (counted.servers.length === 0) return [];
    const [acl] = await this.#store.replicas.stateOf(roomId, [['m.room.server_acl', '']]);
    const content = acl === undefined ? null : pduOf(acl).content;
    const admits = compileServerAcl(acl === undefined ? null : isObject(content) ? content : {});
    return counted.servers.filter(admits).slice(0, limit);
  }

  async #count(roomId: string): Promise<Counted> {
    const members = new Map<string, number>();
    let hasReplica = false;
    for await (const slice of this.#store.replicas.stateOfType(roomId, 'm.room.member')) {
      if (hasReplica) await setImmediate();
      hasReplica = true;
      for (const event of slice) {
        const { content } = pduOf(event);
        if (!isObject(content) || content.membership !== 'join' || event.stateKey === null) continue;
        const server = serverNameOf(event.stateKey);
        if (server !== null && server !== this.#ownName) members.set(server, (members.get(server) ?? 0) + 1);
      }
    }
    const servers = [...members]
      .toSorted(([a, many], [b, few]) => few - many || (a < b ? -1 : 1))
      .slice(0, MOST_SERVERS)
      .map(([server]) => server);
    const counted = { servers, until: this.#clock.now() + LIFETIME_MS };
    // A room without a replica may be about to get one.
    if (hasReplica) this.#counted.set(roomId, counted);
    return counted;
  }
}
