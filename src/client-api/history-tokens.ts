import type { IncomingMessage, ServerResponse } from 'node:http';
import { callerOf, forwardedFor, rawQuery, replaceParameter } from '../client-view/client-request.ts';
import {
  type HistoryPlace,
  isRemoteHistoryToken,
  parseRemoteHistoryToken,
} from '../client-view/history-token.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import type { Logger } from '../platform/log.ts';
import { roomPathOf } from './room-path.ts';

export interface HistoryTokensDeps {
  readonly homeserver: Pick<Homeserver, 'tokenBeside'>;
  readonly trusted: TrustedProxies;
  readonly logger: Logger;
}

/** The parameters of each read that take such a token. */
const PARAMETERS: ReadonlyMap<string, readonly string[]> = new Map([
  ['messages', ['from', 'to']],
  ['relations', ['from', 'to']],
  ['members', ['at']],
]);

/**
 * Tokens of ours that a client has from the time in which it peeked a room that the homeserver has joined since: the
 * homeserver sees its own for the same place. One for which there is none goes up as it is, to be refused.
 */
export class HistoryTokens {
  readonly #deps: HistoryTokensDeps;

  constructor(deps: HistoryTokensDeps) {
    this.#deps = deps;
  }

  /** False, at once, when there are none in the request; else `pass` is called with them replaced in its target. */
  take(req: IncomingMessage, _res: ServerResponse, pass: () => void): boolean {
    const url = req.url ?? '';
    if (req.method !== 'GET' || !url.includes('PEEK-')) return false;
    const path = roomPathOf(url);
    const parameters = PARAMETERS.get(path?.parts[0] ?? '');
    if (path === null || parameters === undefined) return false;
    const given = new URLSearchParams(rawQuery(url));
    const ours = parameters.filter((name) => isRemoteHistoryToken(given.get(name) ?? ''));
    if (ours.length === 0) return false;
    void this.#replaced(req, path.roomId, given, ours).then((target) => {
      req.url = target;
      pass();
    });
    return true;
  }

  /** Never rejects. */
  async #replaced(
    req: IncomingMessage,
    roomId: string,
    given: URLSearchParams,
    names: readonly string[],
  ): Promise<string> {
    let target = req.url ?? '';
    const caller = callerOf(req, forwardedFor(req, this.#deps.trusted));
    for (const name of names) {
      const beside = besideOf(parseRemoteHistoryToken(given.get(name) ?? ''));
      if (beside === null) continue;
      try {
        const token = await this.#deps.homeserver.tokenBeside(caller, roomId, beside);
        if (token !== null) target = replaceParameter(target, name, token);
      } catch (error) {
        this.#deps.logger.warn(
          { room: roomId, reason: String(error) },
          'a history token could not be translated; the homeserver will refuse it',
        );
      }
    }
    return target;
  }
}

/** The event that stands just before the place, or just after it. */
function besideOf(place: HistoryPlace | null) {
  if (place === null || place.kind === 'log') return place?.beside ?? null;
  const [eventId] = place.next;
  if (eventId === undefined || place.upTo === null) return null;
  return { eventId, depth: place.upTo, side: 'before' } as const;
}
