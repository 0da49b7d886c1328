import { Gate } from '../platform/gate.ts';

/** Whole rooms that are held in memory at once: each may take a gigabyte while it is parsed and verified. */
const LARGE_AT_ONCE = 2;
/** … and of one server: it may send them as slowly as it likes. */
const LARGE_OF_ONE = 1;

/** The place that one large answer takes, from its first MiB until it has been read. */
export interface Turn {
  /** Resolves when there is a place. */
  enter(): Promise<void>;
  /** Gives the place up; also the wait for one. */
  leave(): void;
}

/** Lets few large answers be read at once; the others wait with what they have sent so far. */
export class LargeAnswers {
  readonly #gate = new Gate(LARGE_AT_ONCE, Number.POSITIVE_INFINITY, { running: LARGE_OF_ONE });

  turn(server: string): Turn {
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    const enter = () =>
      new Promise<void>((entered) => {
        const work = () => {
          entered();
          return left;
        };
        void this.#gate.run(work, undefined, server);
      });
    return { enter, leave };
  }
}
