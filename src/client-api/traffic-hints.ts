import type { IncomingMessage, ServerResponse } from 'node:http';
import { rawQuery } from '../client-view/client-request.ts';
import { isObject, type Json, type JsonObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { LearnedServers } from '../outbound-peeks/learned-servers.ts';
import { BodyCollector } from './body-collector.ts';

const CLIENT = '^/_matrix/client/(?:api/v1|r0|v1|v3|unstable)';

/** An answer that is larger goes by unread. */
const MOST_BYTES = 1024 * 1024;
/** Of all that go by; more of them go by unread. */
const MOST_HELD_BYTES = 32 * 1024 * 1024;
const MOST_VALUES = 100_000;

type Learn = (roomId: Json | undefined, servers: readonly (Json | undefined)[]) => void;

/** A kind of request that names servers for rooms, in its query or in its answer. */
interface Place {
  readonly method: readonly string[];
  readonly path: RegExp;
  /** From the request alone; the room is what `path` captures. */
  readonly fromQuery?: readonly string[];
  /** A parameter of the query without which the answer tells nothing. */
  readonly needs?: string;
  readonly fromAnswer?: (body: JsonObject, query: URLSearchParams, learn: Learn) => void;
}

const PLACES: readonly Place[] = [
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/directory/room/[^/]+$`),
    fromAnswer: (body, _query, learn) => learn(body.room_id, listOf(body.servers)),
  },
  {
    method: ['GET', 'POST'],
    path: new RegExp(`${CLIENT}/publicRooms$`),
    needs: 'server',
    fromAnswer: (body, query, learn) => {
      const servers = [query.get('server') ?? ''];
      for (const room of listOf(body.chunk)) if (isObject(room)) learn(room.room_id, servers);
    },
  },
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/(?:im\\.nheko\\.summary/)?(?:summary|room_summary)/[^/]+$`),
    needs: 'via',
    fromAnswer: (body, query, learn) => learn(body.room_id, query.getAll('via')),
  },
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/(?:im\\.nheko\\.summary/)?rooms/[^/]+/summary$`),
    needs: 'via',
    fromAnswer: (body, query, learn) => learn(body.room_id, query.getAll('via')),
  },
  {
    method: ['GET'],
    path: new RegExp(`${CLIENT}/(?:org\\.matrix\\.msc2946/)?rooms/[^/]+/hierarchy$`),
    fromAnswer: (body, _query, learn) => {
      for (const room of listOf(body.rooms)) {
        const children = isObject(room) ? listOf(room.children_state) : [];
        for (const child of children) {
          if (isObject(child) && isObject(child.content)) learn(child.state_key, listOf(child.content.via));
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
    if (fromQuery !== undefined) {
      const servers = fromQuery.flatMap((name) => query.getAll(name));
      const roomId = decoded(place.path.exec(path)?.[1] ?? '');
      // Whoever it is, the homeserver knows them.
      if (servers.length > 0)
        res.once('finish', () => res.statusCode !== 401 && this.#learn(roomId, servers));
    }
    if (fromAnswer !== undefined && (needs === undefined || query.has(needs))) {
      this.#bodies.collect(res, (bytes) => {
        if (res.statusCode !== 200) return;
        const body = parsed(bytes);
        if (body !== null) fromAnswer(body, query, this.#learn);
      });
    }
  }

  readonly #learn: Learn = (roomId, servers) => this.#learned.learn(roomId, servers);
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
