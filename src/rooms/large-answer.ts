import { JsonError, type JsonObject } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import type { OutlineLimits } from './answer-outline.ts';
import type { SignerUse } from './signer-times.ts';
import { EventRejected, type VerifiedEvent } from './verify-event.ts';
import type { JobKey, VerifyJob, VerifyResult } from './verify-jobs.ts';
import type { VerifyWorkers } from './verify-workers.ts';

/** Events verified in one job: some 30 ms of a worker, and a millisecond here to take them over. */
const BATCH = 150;
/** Batches under way, for each worker: while one is worked on, the next one waits at the door. */
const AHEAD = 2;

/** An answer as `outlineAnswer` gives it, and the way to the rest of it. */
export interface LargeAnswer {
  readonly first: JsonObject;
  readonly rest: UnverifiedRest;
}

/** Some of the rest of an answer, verified. */
export interface VerifiedBatch {
  readonly list: 'state' | 'authChain';
  readonly events: VerifiedEvent[];
}

/** Has a large answer read by a worker. Rejects with `JsonError`, with `WorkerFailure`, or when `signal` aborts. */
export async function readLargeAnswer(
  workers: VerifyWorkers,
  body: Uint8Array,
  limits: OutlineLimits,
  signal?: AbortSignal,
): Promise<LargeAnswer> {
  const result = await workers.run({ kind: 'outline', body, ...limits }, signal);
  if (result.kind === 'unreadable') throw new JsonError(result.fault, result.message);
  if (result.kind !== 'outline') throw new TypeError('a worker answered another question');
  const { first, rest, signers } = result.outline;
  return { first, rest: new UnverifiedRest(workers, body, rest, signers) };
}

/** The events of a large answer that are not needed first. They stay bytes until they are verified. */
export class UnverifiedRest {
  readonly signers: readonly SignerUse[];
  readonly #workers: VerifyWorkers;
  readonly #body: Uint8Array;
  readonly #ranges: { readonly state: Uint32Array; readonly authChain: Uint32Array };

  constructor(
    workers: VerifyWorkers,
    body: Uint8Array,
    ranges: { readonly state: Uint32Array; readonly authChain: Uint32Array },
    signers: readonly SignerUse[],
  ) {
    this.signers = signers;
    this.#workers = workers;
    this.#body = body;
    this.#ranges = ranges;
  }

  get count(): number {
    return (this.#ranges.state.length + this.#ranges.authChain.length) / 2;
  }

  /**
   * Verifies the events in worker threads: the auth chain, then the state, each in its order. Those that fail are
   * left out and reported. Throws `WorkerFailure`, or when `signal` aborts.
   */
  async *verified(
    room: { readonly roomId: string; readonly version: string },
    keys: readonly JobKey[],
    rejected: (reason: EventRejected) => void,
    signal?: AbortSignal,
  ): AsyncGenerator<VerifiedBatch> {
    const work = this.#batches();
    const running: { list: VerifiedBatch['list']; result: Promise<VerifyResult> }[] = [];
    const begin = () => {
      const { value: batch } = work.next();
      if (batch === undefined) return;
      const { list, ranges } = batch;
      const job: VerifyJob = { kind: 'verify', body: this.#body, ranges, ...room, keys };
      const result = this.#workers.run(job, signal);
      // Whoever stops listening is not to hear of it as an error that nobody caught.
      result.catch(() => undefined);
      running.push({ list, result });
    };
    for (let i = 0; i < this.#workers.size * AHEAD; i++) begin();
    for (let next = running.shift(); next !== undefined; next = running.shift()) {
      const result = await next.result;
      begin();
      if (result.kind !== 'verified') throw new TypeError('a worker answered another question');
      for (const { reason, message, isForWantOfKey } of result.rejected) {
        rejected(new EventRejected(reason, message, isForWantOfKey));
      }
      const events = result.events.map(({ eventId, json, redacted }) => ({
        eventId,
        pdu: JSON.parse(json) as Pdu,
        redacted,
      }));
      yield { list: next.list, events };
    }
  }

  *#batches(): Generator<{ list: VerifiedBatch['list']; ranges: Uint32Array }, undefined> {
    for (const list of ['authChain', 'state'] as const) {
      const ranges = this.#ranges[list];
      for (let at = 0; at < ranges.length; at += 2 * BATCH) {
        yield { list, ranges: ranges.slice(at, at + 2 * BATCH) };
      }
    }
  }
}
