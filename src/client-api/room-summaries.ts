import type { IncomingMessage, ServerResponse } from 'node:http';
import { LRUCache } from 'lru-cache';
import { callerOf, forwardedFor, rawQuery } from '../client-view/client-request.ts';
import { CORS_HEADERS, homeserverUnreachable, sendMatrixError } from '../forward/matrix-answer.ts';
import { type RawForwarder, readWhile } from '../forward/raw-forwarder.ts';
import { writeHead } from '../forward/response-head.ts';
import type { TrustedProxies } from '../forward/trusted-proxies.ts';
import type { Homeserver } from '../homeserver/homeserver.ts';
import { isRoomId, serverNameOf } from '../matrix/ids.ts';
import type { OutboundPeeks } from '../outbound-peeks/outbound-peeks.ts';
import type { Clock } from '../platform/clock.ts';
import { Gate } from '../platform/gate.ts';
import type { Logger } from '../platform/log.ts';
import type { ReplicaSummaries } from '../room-reads/replica-summaries.ts';

export interface RoomSummariesDeps {
  readonly forwarder: Pick<RawForwarder, 'fetch' | 'pipe'>;
  readonly homeserver: Pick<Homeserver, 'readAs' | 'whoami' | 'serverName'>;
  readonly summaries: Pick<ReplicaSummaries, 'of' | 'membership'>;
  readonly outbound: Pick<OutboundPeeks, 'isPeeked'>;
  /** Who may know a room, beside those whom the client names; best first. */
  readonly learned: { of(roomId: string): readonly string[] };
  readonly trusted: TrustedProxies;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The stable path, and those of MSC3266 that are still asked for. */
const SUMMARY =
  /^\/_matrix\/client\/(?:v1\/room_summary\/([^/]+)|unstable\/im\.nheko\.summary\/(?:summary\/([^/]+)|rooms\/([^/]+)\/summary))$/;
/** How a homeserver says that it knows nothing of a room, or not by these servers. */
const KNOWS_NOTHING: ReadonlySet<number> = new Set([400, 403, 404]);
/** A longer one is passed on, whatever it says. */
const MOST_REFUSAL_BYTES = 64 * 1024;
const MOST_SUMMARY_BYTES = 1024 * 1024;
/** Beyond the homeserver's own time. */
const PATIENCE_MS = 2_000;
const MOST_SERVERS = 5;
/** A room that nobody told of is not asked about again so soon. */
const FORGOTTEN_AFTER_MS = 60_000;
const MOST_UNKNOWN = 10_000;
/** Questions of ours to the homeserver under way; above that its own answer stands. */
const ASKED_AT_ONCE = 20;

/**
 * Room summaries (MSC3266). The homeserver's 200 goes before all. Where it knows nothing of a room, one that is peeked
 * here is summed up from its replica, and of any other it is asked once more, with servers that the client did not
 * name. Failing that, its first answer goes out.
 */
export class RoomSummaries {
  readonly #deps: RoomSummariesDeps;
  readonly #unknown = new LRUCache<string, number>({ max: MOST_UNKNOWN });
  readonly #gate = new Gate(ASKED_AT_ONCE, 0);

  constructor(deps: RoomSummariesDeps) {
    this.#deps = deps;
  }

  /** False, at once, when the request is none of ours. True: it is answered here. */
  take(req: IncomingMessage, res: ServerResponse): boolean {
    if (req.method !== 'GET') return false;
    const roomId = summarisedRoom(req.url ?? '');
    if (roomId === null) return false;
    void this.#handle(req, res, roomId);
    return true;
  }

  async #handle(req: IncomingMessage, res: ServerResponse, roomId: string): Promise<void> {
    const { forwarder } = this.#deps;
    const gone = new AbortController();
    const left = () => gone.abort();
    res.once('close', left);
    try {
      const answer = await forwarder.fetch(req, { signal: gone.signal });
      const isRefusal = KNOWS_NOTHING.has(answer.status);
      const refusal = isRefusal ? await readWhile(answer, (bytes) => bytes <= MOST_REFUSAL_BYTES) : null;
      if (refusal === null) {
        res.off('close', left);
        await forwarder.pipe(answer, res);
        return;
      }
      const summary = await this.#inTime(this.#ours(req, roomId), roomId);
      if (res.destroyed) return;
      if (summary === null) {
        writeHead(res, answer);
        res.end(refusal);
        return;
      }
      const length = ['Content-Length', String(Buffer.byteLength(summary))];
      res.writeHead(200, [...CORS_HEADERS, 'Content-Type', 'application/json', ...length]).end(summary);
    } catch {
      if (!res.headersSent && !res.destroyed) sendMatrixError(res, homeserverUnreachable());
    } finally {
      res.off('close', left);
    }
  }

  /** Null too when it failed or took too long; a count of members that goes on is there for the next who asks. */
  async #inTime(ours: Promise<string | Buffer | null>, roomId: string): Promise<string | Buffer | null> {
    const { clock, logger } = this.#deps;
    const settled = new AbortController();
    const late = clock.sleep(PATIENCE_MS, settled.signal).then(() => null);
    const failed = (error: unknown) => {
      const about = { room: roomId, reason: String(error) };
      logger.debug(about, 'a room was not summed up; the homeserver’s answer stands');
      return null;
    };
    try {
      return await Promise.race([ours.catch(failed), late]);
    } finally {
      settled.abort();
    }
  }

  /** Null where nobody knows the room. */
  async #ours(req: IncomingMessage, roomId: string): Promise<string | Buffer | null> {
    const { outbound, summaries } = this.#deps;
    const summary = outbound.isPeeked(roomId) ? await summaries.of(roomId) : null;
    if (summary === null) return this.#byOtherServers(req, roomId);
    const userId = await this.#userOf(req);
    const membership = userId === null ? {} : { membership: await summaries.membership(roomId, userId) };
    return JSON.stringify({ ...summary, ...membership });
  }

  /** Null for a request that carries no credentials: this may be asked for without. */
  async #userOf(req: IncomingMessage): Promise<string | null> {
    const { homeserver, trusted } = this.#deps;
    const query = new URLSearchParams(rawQuery(req.url ?? ''));
    if (req.headers.authorization === undefined && !query.has('access_token')) return null;
    return (await homeserver.whoami(callerOf(req, forwardedFor(req, trusted)))).userId;
  }

  async #byOtherServers(req: IncomingMessage, roomId: string): Promise<Buffer | null> {
    const { homeserver, learned, trusted, clock } = this.#deps;
    const named = new URLSearchParams(rawQuery(req.url ?? '')).getAll('via');
    const others = [...learned.of(roomId), serverNameOf(roomId) ?? homeserver.serverName].filter(
      (server) => server !== homeserver.serverName && !named.includes(server),
    );
    const servers = [...new Set(others)].slice(0, MOST_SERVERS);
    const key = JSON.stringify([roomId, ...servers]);
    if (servers.length === 0 || clock.now() < (this.#unknown.get(key) ?? 0)) return null;
    const via = servers.map((server) => `via=${encodeURIComponent(server)}`).join('&');
    const target = `/_matrix/client/v1/room_summary/${encodeURIComponent(roomId)}?${via}`;
    const limits = { timeoutMs: PATIENCE_MS, maxBytes: MOST_SUMMARY_BYTES };
    const caller = callerOf(req, forwardedFor(req, trusted));
    const { status, body } = await this.#gate.run(() => homeserver.readAs(caller, target, limits));
    if (status === 200) return body;
    // What else it says, as that this user asks too fast, is not about the room.
    if (KNOWS_NOTHING.has(status)) this.#unknown.set(key, clock.now() + FORGOTTEN_AFTER_MS);
    return null;
  }
}

/** Null for a target that asks for no summary, or of a room by its alias, which the homeserver resolves with servers. */
function summarisedRoom(url: string): string | null {
  const match = SUMMARY.exec(url.split('?', 1)[0] ?? '');
  const segment = match?.[1] ?? match?.[2] ?? match?.[3];
  if (segment === undefined) return null;
  try {
    const named = decodeURIComponent(segment);
    return isRoomId(named) ? named : null;
  } catch {
    return null;
  }
}
