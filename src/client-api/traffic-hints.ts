import { hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { rawQuery } from '../client-view/client-request.ts';
import { serverNameOf } from '../matrix/ids.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Evidence, LearnedServers } from '../outbound-peeks/learned-servers.ts';
import { BodyCollector } from './body-collector.ts';

const CLIENT = '^/_matrix/client/(?:api/v1|r0|v1|v3|unstable)';

/** An answer that is larger goes by unread. */
const MOST_BYTES = 1024 * 1024;
/** Of all that go by; more of them go by unread. */
const MOST_HELD_BYTES = 32 * 1024 * 1024;
const MOST_VALUES = 100_000;

/** `source`: who says so, as far as an answer tells it apart. */
type Learn = (
  roomId: Json | undefined,
  servers: readonly (Json | undefined)[],
  evidence: Evidence,
  source: string,
) => void;

/** A kind of request that names servers for rooms, in its query or in its answer. */
interface Place {
  readonly method: readonly string[];
  readonly path: RegExp;
  /** From the request alone; the room is what `path` captures. */
  readonly fromQuery?: readonly string[];
  /** A parameter of the query without which the answer tells nothing. */
  readonly needs?: string;
  /** The answer to a request for what `path` captures, `subject`, by `user`. */
  readonly fromAnswer?: (body: JsonObject, asked: Asked, learn: Learn) => void;
}

interface Asked {
  readonly query: URLSearchParams;
  readonly subject: string;
  readonly user: string;
}

const PLACES: readonly Place[] = [
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/directory/room/([^/]+)$`),
    fromAnswer: (body, { subject }, learn) =>
      learn(body.room_id, listOf(body.servers), 'listed', `server ${serverNameOf(subject)}`),
  },
  {
    method: ['GET', 'POST'],
    path: new RegExp(`${CLIENT}/publicRooms$`),
    needs: 'server',
    fromAnswer: (body, { query }, learn) => {
      const server = query.get('server') ?? '';
      for (const room of listOf(body.chunk)) {
        if (isObject(room)) learn(room.room_id, [server], 'listed', `server ${server}`);
      }
    },
  },
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/(?:im\\.nheko\\.summary/)?(?:summary|room_summary)/[^/]+$`),
    needs: 'via',
    fromAnswer: fromSummary,
  },
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/(?:im\\.nheko\\.summary/)?rooms/[^/]+/summary$`),
    needs: 'via',
    fromAnswer: fromSummary,
  },
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/(?:org\\.matrix\\.msc2946/)?rooms/([^/]+)/hierarchy$`),
    fromAnswer: (body, { subject }, learn) => {
      for (const room of listOf(body.rooms)) {
        const children = isObject(room) ? listOf(room.children_state) : [];
        for (const child of children) {
          if (!isObject(child) || !isObject(child.content)) continue;
          learn(child.state_key, listOf(child.content.via), 'named', `space ${subject}`);
        }
      }
    },
  },
  {
    method: ['POST'],
    path: new RegExp(`${CLIENT}/(?:xyz\\.amorgan\\.knock/)?(?:join|knock)/([^/]+)$`),
    fromQuery: ['via', 'server_name'],
  },
];

/** Learns from traffic that passes by which servers have which rooms. Nothing is changed, and nothing waits. */
export class TrafficHints {
  readonly #learned: LearnedServers;
  readonly #bodies = new BodyCollector({ mostBytes: MOST_BYTES, mostHeld: MOST_HELD_BYTES });

  constructor(learned: LearnedServers) {
    this.#learned = learned;
  }

  /** To be called before the request is passed on. */
  see(req: IncomingMessage, res: ServerResponse): void {
    const url = req.url ?? '';
    const path = url.split('?', 1)[0] ?? '';
    const place = PLACES.find((one) => one.method.includes(req.method ?? '') && one.path.test(path));
    if (place === undefined) return;
    const query = new URLSearchParams(rawQuery(url));
    const { fromQuery, fromAnswer, needs } = place;
    const subject = decoded(place.path.exec(path)?.[1] ?? '');
    const user = userOf(req, query);
    if (fromQuery !== undefined) {
      const servers = [...new Set(fromQuery.flatMap((name) => query.getAll(name)))];
      res.once('finish', () => {
        // Whoever it is, the homeserver knows them.
        if (res.statusCode === 401) return;
        const evidence = res.statusCode === 200 ? provenBy(servers) : 'failed';
        this.#learn(subject, servers, evidence, user);
      });
    }
    if (fromAnswer !== undefined && (needs === undefined || query.has(needs))) {
      this.#bodies.collect(res, (bytes) => {
        if (res.statusCode !== 200) return;
        const body = parsed(bytes);
        if (body !== null) fromAnswer(body, { query, subject, user }, this.#learn);
      });
    }
  }

  readonly #learn: Learn = (roomId, servers, evidence, source) =>
    this.#learned.learn(roomId, servers, evidence, source);
}

function fromSummary(body: JsonObject, { query, user }: Asked, learn: Learn): void {
  const servers = query.getAll('via');
  learn(body.room_id, servers, provenBy(servers), user);
}

/** What has worked with several servers may have worked with any of them. */
function provenBy(servers: readonly string[]): Evidence {
  return servers.length === 1 ? 'listed' : 'named';
}

/** Tells users apart by their sessions, without asking who they are. */
function userOf(req: IncomingMessage, query: URLSearchParams): string {
  const credentials = [req.headers.authorization ?? '', query.get('access_token') ?? ''];
  return `session ${hash('sha256', JSON.stringify(credentials), 'base64')}`;
}

function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

function parsed(bytes: Buffer): JsonObject | null {
  try {
    const body = parseJson(bytes, { maxValues: MOST_VALUES });
    return isObject(body) ? body : null;
  } catch {
    return null;
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return '';
  }
}
