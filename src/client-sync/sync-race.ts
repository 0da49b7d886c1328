import type { ServerResponse } from 'node:http';
import { LRUCache } from 'lru-cache';
import type { DeviceFilters } from '../client-view/device-filters.ts';
import type { IgnoredUsers } from '../client-view/ignored-users.ts';
import type { Device, DevicePeeks } from '../device-peeks/device-peeks.ts';
import type { WholeResponse } from '../forward/raw-forwarder.ts';
import type { Caller } from '../homeserver/homeserver.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { RoomWakes } from '../rooms/room-wakes.ts';
import { type Store, StoreDownError } from '../store/store.ts';
import type { DeviceSectionReader, DeviceSections, SectionRequest } from './device-sections.ts';
import type { HeldSyncs } from './held-syncs.ts';
import type { PeekLedger } from './peek-ledger.ts';
import { type StateName, StateNames } from './state-names.ts';
import type { SyncRequest } from './sync-request.ts';
import type { UpstreamPoll } from './upstream-polls.ts';

export interface SyncRaceDeps {
  readonly store: Store;
  readonly devicePeeks: DevicePeeks;
  readonly sections: DeviceSectionReader;
  readonly filters: DeviceFilters;
  readonly ignoredUsers: Pick<IgnoredUsers, 'of'>;
  readonly ledger: PeekLedger;
  readonly wakes: RoomWakes;
  readonly held: HeldSyncs;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'syncWake'>;
}

/** One waiting request of a peeking device. */
export interface Entrant {
  readonly caller: Caller;
  readonly res: ServerResponse;
  readonly request: SyncRequest;
  readonly device: Device;
  /** How far its token has read each peek; null without `since`. */
  readonly read: ReadonlyMap<number, number> | null;
  /** The homeserver's side of it. */
  readonly poll: UpstreamPoll;
  /** An earlier request began the poll: it may wait longer than this one wants to. */
  readonly joined: boolean;
}

export type RaceOutcome =
  /** The logs were first, or the time is up; `token` is the homeserver's part, which does not move. */
  | { readonly kind: 'news'; readonly token: string; readonly sections: DeviceSections }
  /** The homeserver has answered. Without sections it answers alone: ours could not be had. */
  | {
      readonly kind: 'answer';
      readonly answer: WholeResponse;
      readonly sections: DeviceSections | null;
      /** The sections with the room's state under the name that the answer has it. Rejects as reading them does. */
      readonly named: (name: StateName) => Promise<DeviceSections | null>;
    }
  /** The process ends, or the time is up and our rooms cannot be read: there is nothing to say. */
  | { readonly kind: 'ending' }
  | { readonly kind: 'gone' };

/** What our failures may cost a client whose homeserver has answered. */
const STORE_GRACE_MS = 50;
/**
 * How long after its answer to the sync the homeserver may take to tell the user's filter and whom they ignore. It is
 * asked for all three at once; a busy one may answer in any order.
 */
const WISHES_GRACE_MS = 500;
/** How long news waits for a homeserver that may refuse the request: it does so at once, without a long-poll. */
const REFUSAL_GRACE_MS = 100;
/** Devices of which it is remembered with which filter the homeserver has answered. */
const MAX_VOUCHED = 10_000;

/** The homeserver's poll and the logs of the peeked rooms race; what comes first is the answer. */
export class SyncRace {
  readonly #deps: SyncRaceDeps;
  /** Device → the filter that the homeserver took last; '' for none. */
  readonly #vouched = new LRUCache<string, string>({ max: MAX_VOUCHED });
  readonly #stateNames = new StateNames();

  constructor(deps: SyncRaceDeps) {
    this.#deps = deps;
  }

  /** Rejects only where the homeserver gave no answer. */
  async run(entrant: Entrant): Promise<RaceOutcome> {
    const { poll } = entrant;
    const stops = new AbortController();
    const over = Promise.race([
      closed(entrant.res, stops.signal).then(() => ({ kind: 'gone' }) as const),
      aborted(this.#deps.held.ending, stops.signal).then(() => ({ kind: 'ending' }) as const),
    ]);
    const timeUp = this.#timeUp(entrant, stops.signal);
    void this.#stayAwake(entrant.device, stops.signal);
    try {
      const outcome = await this.#untilNews(entrant, over, timeUp, stops.signal);
      if (outcome.kind === 'answer' && outcome.answer.status === 200) {
        this.#vouched.set(nameOf(entrant.device), entrant.request.filter ?? '');
      }
      return outcome;
    } catch (error) {
      const first = await Promise.race([poll.answer, over, timeUp]);
      if (first === 'time is up') return { kind: 'ending' };
      if ('kind' in first) return first;
      this.#deps.logger.warn(
        { reason: String(error) },
        'peeked rooms are left out of a sync: they or the store cannot be read',
      );
      return { kind: 'answer', answer: first, sections: null, named: async () => null };
    } finally {
      stops.abort();
    }
  }

  async #untilNews(
    entrant: Entrant,
    over: Promise<{ kind: 'gone' } | { kind: 'ending' }>,
    timeUp: Promise<'time is up'>,
    stop: AbortSignal,
  ): Promise<RaceOutcome> {
    const { ledger, filters, clock, metrics } = this.#deps;
    const { caller, request, device, read, poll } = entrant;
    const wishes = Promise.all([
      filters.of(caller, device.userId, request.filter),
      this.#deps.ignoredUsers.of({ userId: device.userId, caller }),
    ]);
    const [filter, ignored] = await this.#soonAfter(poll, wishes, stop);
    await this.#unlessStoreHangs(ledger.book(device, read), poll);
    const stateName = this.#stateNames.expected(device.userId, request);
    const wanted: SectionRequest = {
      ...request,
      read,
      filter,
      filterText: request.filter,
      ignored,
      stateName,
    };
    const answerWith = (answer: WholeResponse, sections: DeviceSections) => {
      const named = (name: StateName) => this.#named(name, sections, entrant, wanted);
      return { kind: 'answer', answer, sections, named } as const;
    };
    const token = request.homeserverToken;
    // These wait for the homeserver whatever the logs hold.
    const mayGoFirst = token !== null && !request.fullState && request.timeoutMs > 0;
    let wokenAt: number | null = null;
    for (;;) {
      const change = await this.#watch(device, wanted, poll);
      try {
        const { sections } = change;
        if (poll.arrived !== null) return answerWith(poll.arrived, sections);
        if (mayGoFirst && hasNews(sections)) {
          const refusal = wokenAt === null ? await this.#refusal(entrant, over) : null;
          if (refusal !== null) return 'kind' in refusal ? refusal : answerWith(refusal, sections);
          if (wokenAt !== null) metrics.syncWake.observe((clock.now() - wokenAt) / 1000);
          return { kind: 'news', token, sections };
        }
        const answered = poll.answer.then((answer) => answerWith(answer, sections));
        const first = await Promise.race([answered, over, timeUp, ...(mayGoFirst ? [change.happened] : [])]);
        if (first === 'time is up' && token !== null) return { kind: 'news', token, sections };
        if (typeof first === 'object') return first;
        wokenAt = clock.now();
      } finally {
        change.stop();
      }
    }
  }

  async #named(
    name: StateName,
    sections: DeviceSections,
    { device, request, poll }: Entrant,
    wanted: SectionRequest,
  ): Promise<DeviceSections> {
    this.#stateNames.saw(device.userId, request, name);
    if (name === sections.stateName) return sections;
    const { devicePeeks, sections: reader } = this.#deps;
    const peeks = await this.#unlessStoreHangs(devicePeeks.of(device), poll);
    return this.#unlessStoreHangs(reader.read(peeks, { ...wanted, stateName: name }), poll);
  }

  /**
   * The homeserver's answer to a request that it may find malformed, if it comes at once: the filter is another
   * than the device's last one, or the token is not one that was made here.
   */
  async #refusal(
    { device, request, poll, joined }: Entrant,
    over: Promise<{ kind: 'gone' } | { kind: 'ending' }>,
  ): Promise<WholeResponse | { kind: 'gone' } | { kind: 'ending' } | null> {
    const vouched = request.ours !== null && this.#vouched.get(nameOf(device)) === (request.filter ?? '');
    if (vouched || joined) return null;
    const late = this.#deps.clock.sleep(REFUSAL_GRACE_MS).then(() => null);
    return Promise.race([poll.answer, over, late]);
  }

  /** Once the homeserver has given the answer, what else it was asked for is not waited for much longer. */
  #soonAfter<T>({ answer }: UpstreamPoll, work: Promise<T>, stop: AbortSignal): Promise<T> {
    const late = answer.then(async (): Promise<never> => {
      await this.#deps.clock.sleep(WISHES_GRACE_MS, stop);
      throw new Error('the homeserver does not tell the filter or the ignored users in time');
    });
    late.catch(() => undefined);
    return Promise.race([work, late]);
  }

  /** Who waits does not fall asleep, however long it takes. What fails once is made up for by the next time. */
  async #stayAwake(device: Device, stop: AbortSignal): Promise<void> {
    const { ledger, clock } = this.#deps;
    for (;;) {
      await clock.sleep(ledger.seenEveryMs, stop);
      if (stop.aborted) return;
      await ledger.waits(device).catch(() => undefined);
    }
  }

  /** When a poll that an earlier request began outlasts what this one wants to wait. */
  #timeUp({ request, joined }: Entrant, stop: AbortSignal): Promise<'time is up'> {
    if (!joined || request.homeserverToken === null || request.fullState) return new Promise(() => {});
    return this.#deps.clock.sleep(request.timeoutMs, stop).then(() => 'time is up');
  }

  /** What there is for the device now, and word of the next change after it. */
  async #watch(device: Device, wanted: SectionRequest, poll: UpstreamPoll) {
    const { devicePeeks, sections, wakes } = this.#deps;
    const peeks = await this.#unlessStoreHangs(devicePeeks.of(device), poll);
    let wake = () => {};
    const happened = new Promise<'changed'>((resolve) => {
      wake = () => resolve('changed');
    });
    const rooms = peeks.map(({ roomId }) => roomId);
    const stop = wakes.watch(rooms, wake, device);
    try {
      const now = await this.#unlessStoreHangs(devicePeeks.of(device), poll);
      return { sections: await this.#unlessStoreHangs(sections.read(now, wanted), poll), happened, stop };
    } catch (error) {
      stop();
      throw error;
    }
  }

  /** Once the homeserver has answered, a store that does not is not waited for; slow reads of rooms are. */
  async #unlessStoreHangs<T>(work: Promise<T>, poll: UpstreamPoll): Promise<T> {
    const { store, clock } = this.#deps;
    let done = false;
    const hangs = poll.answer.then(async () => {
      while (!done) {
        const answered = store.ping().then(() => true);
        const late = clock.sleep(STORE_GRACE_MS).then(() => false);
        if (!(await Promise.race([answered, late]))) {
          throw new StoreDownError('the store does not answer in time');
        }
        await late;
      }
      return work;
    });
    try {
      return await Promise.race([work, hangs]);
    } finally {
      done = true;
      hangs.catch(() => undefined);
    }
  }
}

function nameOf({ userId, deviceId }: Device): string {
  return JSON.stringify([userId, deviceId]);
}

function hasNews(sections: DeviceSections): boolean {
  return sections.peek.size > 0 || sections.leave.size > 0;
}

/** Resolves when the response closes; stops listening with `stop`. */
function closed(res: ServerResponse, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (res.destroyed) return resolve();
    const listener = () => resolve();
    res.once('close', listener);
    stop.addEventListener('abort', () => res.off('close', listener), { once: true });
  });
}

/** Resolves when `signal` aborts; stops listening with `stop`. */
function aborted(signal: AbortSignal, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const listener = () => resolve();
    signal.addEventListener('abort', listener, { once: true });
    stop.addEventListener('abort', () => signal.removeEventListener('abort', listener), { once: true });
  });
}
