import type { MemberServers } from '../rooms/member-servers.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import { orderedCandidates } from './candidates.ts';
import type { Standing } from './standing.ts';

/** Servers of the room's members that are tried after those that were named. */
const MOST_MEMBER_SERVERS = 10;

export interface WhomToAskDeps {
  readonly store: Store;
  readonly serverName: string;
  readonly memberServers: MemberServers;
}

/** Through which servers a room that is peeked already may be peeked. */
export class WhomToAsk {
  readonly #deps: WhomToAskDeps;
  readonly #standing: Standing;

  constructor(deps: WhomToAskDeps, standing: Standing) {
    this.#deps = deps;
    this.#standing = standing;
  }

  /**
   * Whom to ask: the peek's own server, first, or when it is lost last; then who was named, then the servers of
   * the room's members. None that the room is peeked through already.
   */
  async servers(peek: OutboundPeek): Promise<string[]> {
    const { memberServers, serverName } = this.#deps;
    const { roomId, server, candidates } = peek;
    const named = orderedCandidates(roomId, [server, ...candidates], serverName);
    const members = await memberServers.of(roomId, MOST_MEMBER_SERVERS + named.length);
    const further = members.filter((one) => !named.includes(one)).slice(0, MOST_MEMBER_SERVERS);
    const taken = new Set((await this.others(peek)).map((other) => other.server));
    const servers = [...named, ...further].filter((one) => !taken.has(one));
    if (!this.#standing.isLost(server)) return servers;
    return [...servers.filter((one) => one !== server), server];
  }

  /** The other live peeks on the room. */
  async others({ roomId, peekId }: OutboundPeek): Promise<OutboundPeek[]> {
    const peeks = await this.#deps.store.outboundPeeks.ofRoom(roomId);
    return peeks.filter((peek) => peek.phase === 'live' && peek.peekId !== peekId);
  }
}
