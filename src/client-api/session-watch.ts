import type { IncomingMessage, ServerResponse } from 'node:http';
import { callerOf, forwardedFor } from '../client-view/client-request.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Caller, Homeserver, Identity } from '../homeserver/homeserver.ts';
import { isObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { GoneDevices } from '../peeking/gone-devices.ts';
import { deviceOf } from '../peeking/peeking.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { whenAnswered } from './when-answered.ts';

export interface SessionWatchDeps {
  readonly homeserver: Pick<Homeserver, 'whoami' | 'readAs'>;
  readonly gone: GoneDevices;
  /** Whether anybody peeks at all. */
  readonly anyPeeks: () => boolean;
  readonly trusted: TrustedProxies;
  readonly clock: Clock;
  readonly logger: Logger;
}

const CLIENT = '^/_matrix/client/(?:r0|v1|v3|unstable|api/v1)';
const LOGOUT = new RegExp(`${CLIENT}/logout$`);
const ALL_DEVICES = new RegExp(`${CLIENT}/(?:logout/all|account/deactivate)$`);
const ONE_DEVICE = new RegExp(`${CLIENT}/devices/([^/]+)$`);
const SOME_DEVICES = new RegExp(`${CLIENT}/(?:delete_devices|account/password)$`);

/** A request waits no longer to learn whose session it ends. */
const IDENTITY_GRACE_MS = 50;
const DEVICES = { path: '/_matrix/client/v3/devices', timeoutMs: 10_000, maxBytes: 4 * 1024 * 1024 };

/** Which devices' sessions a request ends when it succeeds. */
type Ending =
  | { readonly of: 'caller' | 'all' | 'some' }
  | { readonly of: 'named'; readonly deviceId: string };

/**
 * Requests that end sessions pass on to the homeserver; when it has agreed, the peeks of those devices end. What a
 * request does not say, which of the user's devices are left, the homeserver is asked for afterwards: a client that
 * has proved its identity may leave the devices out that it named before.
 */
export class SessionWatch {
  readonly #deps: SessionWatchDeps;

  constructor(deps: SessionWatchDeps) {
    this.#deps = deps;
  }

  /**
   * False, at once, when the request ends no session or nobody peeks. Else `pass` is called, when it is known who is
   * calling (afterwards the token is dead), or does not become known at once. Never answers.
   */
  take(req: IncomingMessage, res: ServerResponse, pass: () => void): boolean {
    const ending = endingOf(req);
    if (ending === null || !this.#deps.anyPeeks()) return false;
    void this.#take(req, res, ending, pass);
    return true;
  }

  async #take(req: IncomingMessage, res: ServerResponse, ending: Ending, pass: () => void): Promise<void> {
    const { homeserver, trusted, clock } = this.#deps;
    const caller = callerOf(req, forwardedFor(req, trusted));
    const asked = homeserver.whoami(caller).catch(() => null);
    const late = new AbortController();
    await Promise.race([asked, clock.sleep(IDENTITY_GRACE_MS, late.signal)]);
    late.abort();
    if (res.destroyed) return;
    whenAnswered(res, (ok) => ok && void this.#ended(caller, asked, ending));
    pass();
  }

  /** Never rejects: peeks that are left end when nobody has synced for long enough. */
  async #ended(caller: Caller, asked: Promise<Identity | null>, ending: Ending): Promise<void> {
    const { gone, logger } = this.#deps;
    try {
      const who = await asked;
      if (who === null) return;
      const { userId, deviceId } = deviceOf(who);
      if (ending.of === 'all') return await gone.end(userId, () => true);
      if (ending.of === 'caller') return await gone.end(userId, (one) => one === deviceId);
      if (ending.of === 'named') return await gone.end(userId, (one) => one === ending.deviceId);
      const left = await this.#devicesLeft(caller);
      // Peeks that are kept for the user alone are of no device that could be deleted.
      if (left === null) await gone.end(userId, (one) => one === deviceId);
      else await gone.end(userId, (one) => one !== '' && !left.has(one));
    } catch (error) {
      logger.warn(
        { reason: String(error) },
        'the peeks of a device that was logged out could not be ended; they end when their time is over',
      );
    }
  }

  /** The IDs of the user's devices; null when the request has ended the caller's own session too. */
  async #devicesLeft(caller: Caller): Promise<ReadonlySet<string> | null> {
    const { status, body } = await this.#deps.homeserver.readAs(caller, DEVICES.path, DEVICES);
    if (status === 401) return null;
    const answer = status === 200 ? parseJson(body) : null;
    if (!isObject(answer) || !Array.isArray(answer.devices)) {
      throw new Error(`the homeserver answered ${status} when asked which devices are left`);
    }
    return new Set(answer.devices.map((device) => (isObject(device) ? String(device.device_id) : '')));
  }
}

function endingOf(req: IncomingMessage): Ending | null {
  const path = (req.url ?? '').split('?', 1)[0] ?? '';
  if (req.method === 'DELETE') {
    const segment = ONE_DEVICE.exec(path)?.[1];
    return segment === undefined ? null : { of: 'named', deviceId: decode(segment) };
  }
  if (req.method !== 'POST') return null;
  if (LOGOUT.test(path)) return { of: 'caller' };
  if (ALL_DEVICES.test(path)) return { of: 'all' };
  return SOME_DEVICES.test(path) ? { of: 'some' } : null;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
