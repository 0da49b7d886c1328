import type { IncomingMessage, ServerResponse } from 'node:http';
import { callerOf, forwardedFor } from '../client-view/client-request.ts';
import type { Device, DevicePeeks } from '../device-peeks/device-peeks.ts';
import { homeserverUnreachable, sendMatrixError } from '../forward/matrix-answer.ts';
import type { RawForwarder } from '../forward/raw-forwarder.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Homeserver, Identity } from '../homeserver/homeserver.ts';
import { deviceOf } from '../peeking/peeking.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { HeldSyncs } from './held-syncs.ts';
import type { PeekingSync, StartedSync } from './peeking-sync.ts';
import { mayHoldOurPart, readSyncRequest, type SyncRequest } from './sync-request.ts';
import type { OurPart } from './sync-token.ts';

export interface SyncHandlerDeps {
  readonly forwarder: RawForwarder;
  readonly homeserver: Homeserver;
  readonly devicePeeks: DevicePeeks;
  readonly peekingSync: PeekingSync;
  readonly held: HeldSyncs;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly trusted: TrustedProxies;
}

/** How long an answer that is there waits to learn who asked for it. */
const IDENTITY_GRACE_MS = 50;
const AS_IT_CAME = {};

/**
 * `GET /sync`. A device that peeks into nothing (nearly every one) gets the homeserver's bytes streamed
 * through, unparsed. Who is calling is looked up beside the upstream request, never before it.
 */
export class SyncHandler {
  readonly #deps: SyncHandlerDeps;
  readonly #plainSyncs: { inc(): void };
  readonly #peekingSyncs: { inc(): void };

  constructor(deps: SyncHandlerDeps) {
    this.#deps = deps;
    this.#plainSyncs = deps.metrics.hot(deps.metrics.syncRequests, { kind: 'plain' });
    this.#peekingSyncs = deps.metrics.hot(deps.metrics.syncRequests, { kind: 'peeking' });
  }

  handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { devicePeeks, homeserver } = this.#deps;
    const url = req.url ?? '';
    // Hot: with nobody peeking, a request is not even read.
    if (!devicePeeks.anyPeeks) {
      const request = mayHoldOurPart(url) ? readSyncRequest(url) : null;
      if (request !== null && request.ours !== null && !devicePeeks.started) {
        return this.#keepingPart(req, res, request, request.ours);
      }
      return this.#plain(req, res, request?.target ?? url);
    }
    const known = homeserver.remembered(callerOf(req, null));
    const peeks = known === null || devicePeeks.mayPeek(deviceOf(known));
    if (!peeks && !mayHoldOurPart(url)) return this.#plain(req, res, url);
    const request = readSyncRequest(url);
    if (known === null) return this.#unknown(req, res, request);
    if (!peeks) return this.#plain(req, res, request.target);
    return this.#peeking(req, res, request, deviceOf(known));
  }

  #plain(req: IncomingMessage, res: ServerResponse, target: string): Promise<void> {
    const { forwarder, held } = this.#deps;
    this.#plainSyncs.inc();
    const place = held.hold(res, req.url ?? target);
    return forwarder
      .forward(req, res, target === req.url ? AS_IT_CAME : { path: target })
      .then(() => held.letGo(place));
  }

  /** Who peeks is not known yet, just after a start: the token must not lose what it says of peeks. */
  async #keepingPart(
    req: IncomingMessage,
    res: ServerResponse,
    request: SyncRequest,
    ours: OurPart,
  ): Promise<void> {
    const { forwarder, held, peekingSync } = this.#deps;
    const abort = new AbortController();
    res.once('close', () => abort.abort());
    this.#plainSyncs.inc();
    const place = held.hold(res, req.url ?? request.target);
    try {
      const upstream = forwarder.fetch(req, { path: request.target, signal: abort.signal });
      await peekingSync.relay(req, res, await upstream, ours);
    } catch {
      if (!res.headersSent && !res.destroyed) sendMatrixError(res, homeserverUnreachable());
    } finally {
      held.letGo(place);
    }
  }

  /** A token not seen for a while: the homeserver is asked for the sync and for the caller at the same time. */
  async #unknown(req: IncomingMessage, res: ServerResponse, request: SyncRequest): Promise<void> {
    const { forwarder, held } = this.#deps;
    const abort = new AbortController();
    const place = held.hold(res, req.url ?? request.target);
    try {
      const upstream = forwarder.fetch(req, { path: request.target, signal: abort.signal });
      upstream.catch(() => undefined);
      // A client that goes away before it is known who it is may be one whose poll has to run on.
      const identity = await this.#identify(req, upstream);
      if (identity === null || !this.#deps.devicePeeks.mayPeek(deviceOf(identity))) {
        this.#plainSyncs.inc();
        if (res.destroyed) return abort.abort();
        res.once('close', () => abort.abort());
        if (identity !== null || request.ours === null) await forwarder.pipe(await upstream, res);
        else await this.#deps.peekingSync.relay(req, res, await upstream, request.ours);
        return;
      }
      held.letGo(place);
      const started = { response: upstream, abort };
      await this.#peeking(req, res, request, deviceOf(identity), started);
    } catch {
      if (!res.headersSent && !res.destroyed) sendMatrixError(res, homeserverUnreachable());
    } finally {
      held.letGo(place);
    }
  }

  /** Who is calling, or null if the homeserver does not say so in time. */
  async #identify(req: IncomingMessage, upstream: Promise<unknown>): Promise<Identity | null> {
    const identity = this.#deps.homeserver
      .whoami(callerOf(req, forwardedFor(req, this.#deps.trusted)))
      .catch(() => null);
    const tooLate = upstream.then(
      () => this.#deps.clock.sleep(IDENTITY_GRACE_MS).then(() => null),
      () => null,
    );
    return Promise.race([identity, tooLate]);
  }

  async #peeking(
    req: IncomingMessage,
    res: ServerResponse,
    request: SyncRequest,
    device: Device,
    started?: StartedSync,
  ): Promise<void> {
    const { peekingSync, logger } = this.#deps;
    this.#peekingSyncs.inc();
    try {
      await peekingSync.answer(req, res, request, device, started);
    } catch (error) {
      if (res.headersSent || res.destroyed) return;
      logger.debug({ reason: String(error) }, 'a sync got no answer from the homeserver');
      sendMatrixError(res, homeserverUnreachable());
    }
  }
}
