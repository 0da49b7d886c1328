import { PeekAnswerUnusable } from '../feeds/answers/peek-answer.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { OutboundPeek, Store } from '../store/store.ts';
import { NobodyLetsUs } from './candidates.ts';
import type { Endings } from './endings.ts';
import type { Patience } from './patience.ts';
import type { PeekedThrough } from './peeked-through.ts';
import type { Standing } from './standing.ts';
import type { Subscriber } from './subscriber.ts';
import type { WhomToAsk } from './whom-to-ask.ts';

export interface MovesDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

export interface MovesParts {
  readonly through: PeekedThrough;
  readonly subscriber: Subscriber;
  readonly endings: Endings;
  readonly standing: Standing;
  /** By room: since when nobody lets us. */
  readonly patience: Patience;
}

/** Asks for a room anew, wherever somebody lets us; and where that is over, sees its peeks off. */
export class Moves {
  readonly #deps: MovesDeps;
  readonly #parts: MovesParts;
  readonly #whom: WhomToAsk;

  constructor(deps: MovesDeps, parts: MovesParts, whom: WhomToAsk) {
    this.#deps = deps;
    this.#parts = parts;
    this.#whom = whom;
  }

  /**
   * Asks for the whole room again: at the same server, or else at another candidate, or else at a server of the
   * room's members. `elsewhere`: not at the same server. Meanwhile the room is read from what we have.
   */
  async putAgain(peek: OutboundPeek, elsewhere = false): Promise<void> {
    const { store, clock, logger, metrics } = this.#deps;
    const { subscriber, standing, patience } = this.#parts;
    const { roomId, server, peekId } = peek;
    try {
      const servers = (await this.#whom.servers(peek)).filter((one) => !elsewhere || one !== server);
      await subscriber.subscribe(roomId, servers, peek);
      patience.succeeded(roomId);
      standing.letIn(peekId);
      const held = await store.outboundPeeks.ofRoom(roomId);
      if (!held.some((one) => one.server === server && one.phase === 'live')) {
        metrics.failovers.inc({ outcome: 'moved' });
      }
    } catch (error) {
      if (error instanceof PeekAnswerUnusable) return;
      if (!(error instanceof NobodyLetsUs)) throw error;
      const said = error.by(server);
      if (said?.kind === 'forbidden') {
        return (await this.#whom.others(peek)).length > 0 ? this.letGo(peek) : this.#shutOut(peek);
      }
      if (said?.answered === false) standing.failed(server, clock.now());
      metrics.failovers.inc({ outcome: 'nobody' });
      const again = patience.failed(roomId, clock.now());
      if (said?.busy === undefined) standing.turnedAway(peekId, again);
      await store.outboundPeeks.update(roomId, peekId, { renewAt: again });
      logger.warn(
        { room: roomId, server, reason: error.message, again: new Date(again).toISOString() },
        'the room can be peeked through no server just now: it is read from what is here, and tried again',
      );
    }
  }

  /** The room has closed, or its ACL shuts us out: its log closes where it stands, and the peeks on it end. */
  async #shutOut(peek: OutboundPeek): Promise<void> {
    const { store, logger } = this.#deps;
    logger.info(
      { room: peek.roomId, server: peek.server },
      'the room may no longer be peeked; its peeks end',
    );
    await store.logs.append(peek.roomId, { entries: [], close: { reason: 'refused' } });
    await this.letGo(peek);
  }

  /** The `DELETE` is sent at once, and nobody waits for it. */
  async letGo(peek: OutboundPeek): Promise<void> {
    const { store } = this.#deps;
    const { through, endings } = this.#parts;
    if (!(await store.outboundPeeks.update(peek.roomId, peek.peekId, { phase: 'ending' }))) return;
    await through.learn(peek.roomId);
    endings.finishQuietly({ ...peek, phase: 'ending' });
  }
}
