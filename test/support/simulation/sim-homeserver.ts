import { Readable } from 'node:stream';
import { Dispatcher } from 'undici';
import { type Followed, HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import type { HomeserverReport } from '../../../src/homeserver/probe.ts';
import { isObject, type Json, type JsonObject } from '../../../src/matrix/json.ts';
import { prevEventIds } from '../../../src/matrix/pdu.ts';
import type { Clock } from '../../../src/platform/clock.ts';
import type { BuiltEvent, RoomBuilder } from '../room-builder.ts';
import { RoomHomeserver } from '../room-homeserver.ts';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;

/** A homeserver that can be stopped and started again. The streams of its rooms are the truth. */
export class SimHomeserver extends RoomHomeserver {
  readonly #clock: Clock;
  readonly #held = new Set<() => void>();

  constructor(serverName: string, clock: Clock) {
    super(serverName);
    this.#clock = clock;
  }

  get isUp(): boolean {
    return this.failure === null;
  }

  /** What it is in the middle of ends without an answer. */
  stopNow(): void {
    this.failure = new HomeserverDown('connect ECONNREFUSED');
    for (const cut of [...this.#held]) cut();
    this.wake();
  }

  startAgain(): void {
    this.failure = null;
  }

  async probe(): Promise<HomeserverReport> {
    const down = { kind: 'down' as const, reason: 'it does not answer', advice: 'Start it.' };
    return {
      reachable: this.isUp,
      problem: this.isUp ? null : down,
      groupsFieldAccepted: true,
      version: 'Synapse 1',
    };
  }

  override async follow(
    roomId: string,
    from: string | null,
    wait: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Followed> {
    this.calls.length = 0;
    const end = new AbortController();
    const cancel = () => end.abort();
    let over = false;
    const timer = this.#clock.after(wait.timeoutMs, () => {
      over = true;
      cancel();
    });
    wait.signal.addEventListener('abort', cancel, { once: true });
    try {
      return await super.follow(roomId, from, { ...wait, signal: end.signal });
    } catch (error) {
      if (!over || from === null || !this.isUp) throw error;
      return { events: [], end: from };
    } finally {
      timer.cancel();
      wait.signal.removeEventListener('abort', cancel);
    }
  }

  /** Federation with itself: what peeking servers ask for. */
  override selfRequest = async (method: 'GET' | 'POST', path: string, body?: JsonObject) => {
    if (this.failure !== null) throw this.failure;
    const answer = this.#federationAnswer(method, path, body ?? {});
    const status = answer === null ? 404 : 200;
    return { status, body: Buffer.from(JSON.stringify(answer ?? { errcode: 'M_NOT_FOUND' })) };
  };

  #federationAnswer(method: string, path: string, body: JsonObject): JsonObject | null {
    const url = new URL(path, 'http://homeserver');
    const [kind, first = ''] = url.pathname.replace('/_matrix/federation/v1/', '').split('/');
    const named = decodeURIComponent(first);
    if (kind === 'event') {
      const found = this.#find(named);
      return found === null
        ? null
        : { origin: this.serverName, origin_server_ts: 1, pdus: [found.event.pdu] };
    }
    const builder = this.rooms.get(named)?.builder;
    if (builder === undefined) return null;
    if (kind === 'get_missing_events' && method === 'POST') {
      const before = this.#before(builder, strings(body.latest_events), strings(body.earliest_events));
      return { events: before.slice(-Number(body.limit ?? 10)).map(({ pdu }) => pdu) };
    }
    if (kind === 'backfill') {
      const at = builder.events.findIndex(({ eventId }) => url.searchParams.getAll('v').includes(eventId));
      const limit = Number(url.searchParams.get('limit'));
      return { pdus: builder.events.slice(Math.max(0, at + 1 - limit), at + 1).map(({ pdu }) => pdu) };
    }
    if (kind === 'state_ids') {
      return {
        pdu_ids: builder.currentState.map(({ eventId }) => eventId),
        auth_chain_ids: builder.authChain.map(({ eventId }) => eventId),
      };
    }
    return null;
  }

  /** Walks back from the latest events to the earliest; oldest first. */
  #before(builder: RoomBuilder, latest: readonly string[], earliest: readonly string[]): BuiltEvent[] {
    const known = new Map(builder.events.map((event) => [event.eventId, event]));
    const found = new Set<BuiltEvent>();
    const seen = new Set([...latest, ...earliest]);
    let layer = latest;
    while (layer.length > 0) {
      const next: string[] = [];
      for (const eventId of layer) {
        const event = known.get(eventId);
        if (event === undefined) continue;
        for (const previous of prevEventIds(event.pdu, builder.rules)) {
          if (seen.has(previous)) continue;
          seen.add(previous);
          const ancestor = known.get(previous);
          if (ancestor !== undefined) found.add(ancestor);
          next.push(previous);
        }
      }
      layer = next;
    }
    return builder.events.filter((event) => found.has(event));
  }

  #find(eventId: string) {
    for (const { builder } of this.rooms.values()) {
      const event = builder.events.find((known) => known.eventId === eventId);
      if (event !== undefined) return { builder, event };
    }
    return null;
  }

  /** It as requests are forwarded to it by one process. */
  upstream(alive: () => boolean): Dispatcher {
    return new Upstream((request, respond) => this.#serve(request, respond), alive);
  }

  #serve(request: Dispatcher.DispatchOptions, respond: Respond): () => void {
    const url = new URL(request.path, 'http://homeserver');
    if (!this.isUp) {
      respond(null);
      return () => {};
    }
    if (!url.pathname.endsWith('/sync')) {
      respond(this.#plainAnswer(request.method, url.pathname));
      return () => {};
    }
    const since = url.searchParams.get('since');
    const waits = since === null ? 0 : Number(url.searchParams.get('timeout') ?? 0);
    const answer = () => ({
      status: 200,
      body: { next_batch: since ?? 's1_0_0_0_0_0_0_0_0_0', rooms: {} },
    });
    if (waits === 0) {
      respond(answer());
      return () => {};
    }
    const end = () => {
      timer.cancel();
      this.#held.delete(cut);
    };
    const cut = () => {
      end();
      respond(null);
    };
    const timer = this.#clock.after(waits, () => {
      end();
      respond(answer());
    });
    this.#held.add(cut);
    return end;
  }

  #plainAnswer(method: string, path: string): { status: number; body: JsonObject } {
    if (path === '/_matrix/federation/v1/version') {
      return { status: 200, body: { server: { name: 'Synapse', version: '1' } } };
    }
    if (method === 'PUT' && path.startsWith('/_matrix/federation/v1/send/')) {
      return { status: 200, body: { pdus: {} } };
    }
    if (path.startsWith('/_matrix/federation/')) return { status: 403, body: { errcode: 'M_FORBIDDEN' } };
    return { status: 404, body: { errcode: 'M_UNRECOGNIZED' } };
  }
}

/** null: the connection breaks. */
type Respond = (answer: { status: number; body: JsonObject } | null) => void;
/** Answers a request, at once or later. Returns the way to give it up. */
type Serve = (request: Dispatcher.DispatchOptions, respond: Respond) => () => void;

/** The connections of one process to the homeserver. */
class Upstream extends Dispatcher {
  readonly #serve: Serve;
  readonly #alive: () => boolean;

  constructor(serve: Serve, alive: () => boolean) {
    super();
    this.#serve = serve;
    this.#alive = alive;
  }

  override dispatch(request: Dispatcher.DispatchOptions, handler: Handler): boolean {
    let over = false;
    let giveUp = () => {};
    const fail = (error: Error) => {
      if (over) return;
      over = true;
      giveUp();
      handler.onResponseError?.(controller, error);
    };
    const controller: Controller & { rawHeaders: string[] } = {
      aborted: false,
      paused: false,
      reason: null,
      rawHeaders: [],
      rawTrailers: [],
      pause() {},
      resume() {},
      abort: fail,
    } as unknown as Controller & { rawHeaders: string[] };
    const respond: Respond = (answer) =>
      queueMicrotask(() => {
        if (over || !this.#alive()) return;
        if (answer === null) return fail(new Error('connect ECONNREFUSED'));
        over = true;
        const body = Buffer.from(JSON.stringify(answer.body));
        controller.rawHeaders = ['Content-Type', 'application/json', 'Content-Length', String(body.length)];
        handler.onResponseStart?.(controller, answer.status, {}, 'OK');
        handler.onResponseData?.(controller, body);
        handler.onResponseEnd?.(controller, {});
      });
    if (request.body instanceof Readable) request.body.on('error', fail).resume();
    handler.onRequestStart?.(controller, {});
    giveUp = this.#serve(request, respond);
    return true;
  }
}

function strings(value: Json | undefined): string[] {
  return Array.isArray(value) && !isObject(value) ? value.filter((item) => typeof item === 'string') : [];
}
