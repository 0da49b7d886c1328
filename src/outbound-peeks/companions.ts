import type { PeekAnswer } from '../feeds/answers/peek-answer.ts';
import { PeekAnswerUnusable } from '../feeds/answers/peek-answer.ts';
import type { RemoteFeed } from '../feeds/remote/remote-feed.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { eachInTurns } from '../platform/turns.ts';
import { stateSlot } from '../rooms/log-entries.ts';
import type { VerifiedEvent } from '../rooms/verify-event.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import { NobodyLetsUs } from './candidates.ts';
import { Patience } from './patience.ts';
import type { Standing } from './standing.ts';
import type { Subscriber } from './subscriber.ts';

export interface CompanionsDeps {
  readonly store: Store;
  readonly feed: RemoteFeed;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Through how many servers each room is peeked: with 1 there are no companions. */
  readonly serversPerRoom: number;
}

interface Parts {
  readonly subscriber: Subscriber;
  readonly standing: Standing;
}

/**
 * The second server that a room is peeked through. It adds the events that the first one withholds; the state is
 * the first one's word, with which the second one's is compared each time that it is asked.
 */
export class Companions {
  readonly #deps: CompanionsDeps;
  readonly #parts: Parts;
  /** By room: since when there is no second server. */
  readonly #patience = new Patience();

  constructor(deps: CompanionsDeps, parts: Parts) {
    this.#deps = deps;
    this.#parts = parts;
  }

  /** Whether a room with these peeks lacks a server. */
  isMissing(peeks: readonly OutboundPeek[]): boolean {
    return peeks.filter(({ phase }) => phase === 'live').length < this.#deps.serversPerRoom;
  }

  /** Sees to it that the room has as many servers as it should. */
  async complete(roomId: string, now: number, servers: () => Promise<string[]>): Promise<void> {
    const { store, serversPerRoom } = this.#deps;
    if (serversPerRoom < 2 || !this.#patience.mayTry(roomId, now)) return;
    const held = await store.outboundPeeks.ofRoom(roomId);
    const live = held.filter(({ phase }) => phase === 'live').map(({ server }) => server);
    if (live.length === 0 || live.length >= serversPerRoom) return;
    const candidates = await servers();
    const others = candidates.filter((server) => !live.includes(server));
    if (others.length > 0 && (await this.#ask(roomId, others, null, candidates)) === null) {
      this.#patience.succeeded(roomId);
    } else this.#patience.failed(roomId, now);
  }

  /** Asks the companion for the whole room again, and compares. `refused`: its server does not let us any more. */
  async renew(peek: OutboundPeek, now: number): Promise<'kept' | 'refused'> {
    const { store } = this.#deps;
    const { roomId, server, peekId } = peek;
    if (!this.#patience.mayTry(roomId, now)) return 'kept';
    const failed = await this.#ask(roomId, [server], peek, peek.candidates);
    if (failed === null) {
      this.#parts.standing.letIn(peekId);
      return 'kept';
    }
    const again = this.#patience.failed(roomId, now);
    const said = failed instanceof NobodyLetsUs ? failed.by(server) : undefined;
    if (said?.kind === 'forbidden' || said?.kind === 'not-found') return 'refused';
    if (said?.answered === false) this.#parts.standing.failed(server, now);
    if (said !== undefined && said.busy === undefined) this.#parts.standing.turnedAway(peekId, again);
    await store.outboundPeeks.update(roomId, peekId, { renewAt: again });
    return 'kept';
  }

  /** Forgets all rooms but these. */
  prune(roomIds: ReadonlySet<string>): void {
    this.#patience.prune(roomIds);
  }

  /** Returns why none of them could be asked; null when one was. */
  async #ask(
    roomId: string,
    servers: readonly string[],
    held: OutboundPeek | null,
    candidates: readonly string[],
  ): Promise<Error | null> {
    const { feed, logger } = this.#deps;
    try {
      const { server, answer } = await this.#parts.subscriber.obtain(roomId, servers, held, candidates);
      await this.#compare(roomId, server, answer).finally(() => answer.rest?.end());
      const events = answer.recent.map(({ pdu }) => pdu);
      await feed.ingest(roomId, server, events);
      return null;
    } catch (error) {
      if (!(error instanceof NobodyLetsUs || error instanceof PeekAnswerUnusable)) throw error;
      logger.info(
        { room: roomId, reason: error.message },
        'the room has no second server to be peeked through just now',
      );
      return error;
    }
  }

  /** What is under way at this moment counts as a difference too: a few that do not last mean nothing. */
  async #compare(roomId: string, server: string, answer: PeekAnswer): Promise<void> {
    const { store, logger, metrics } = this.#deps;
    const here = new Map<string, string>();
    await eachInTurns(await store.replicas.state(roomId), ({ type, stateKey, eventId }) => {
      here.set(stateSlot(type, stateKey ?? ''), eventId);
    });
    let differing = 0;
    const compare = ({ pdu, eventId }: VerifiedEvent) => {
      const slot = stateSlot(pdu.type, String(pdu.state_key));
      if (here.get(slot) !== eventId) differing++;
      here.delete(slot);
    };
    await eachInTurns(answer.state, compare);
    for await (const { list, events } of answer.rest?.batches() ?? []) {
      if (list === 'state') events.forEach(compare);
    }
    differing += here.size;
    metrics.stateComparisons.inc({ outcome: differing === 0 ? 'same' : 'differing' });
    if (differing === 0) return;
    metrics.stateDifferences.inc(differing);
    logger.warn(
      { room: roomId, server, differing },
      'the two servers that the room is peeked through do not agree on its state',
    );
  }
}
