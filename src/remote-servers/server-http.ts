import { LRUCache } from 'lru-cache';
import type { Clock } from '../platform/clock.ts';
import type { HttpsClient, HttpsRequest } from '../platform/guarded-agent.ts';
import { HttpError, type HttpResponse } from '../platform/http-client.ts';
import type { Route } from './server-resolver.ts';

const MAX_REMEMBERED = 10_000;
/** How long a target that could not be connected to is tried after the others. */
const AVOIDED_MS = 5 * 60_000;

export interface ServerHttpDeps {
  readonly resolver: { resolve(server: string): Promise<Route[]> };
  readonly https: HttpsClient;
  readonly clock: Clock;
}

/** HTTPS to a server by its name: it is discovered, and asked at the first of its targets that is there. */
export class ServerHttp {
  readonly #deps: ServerHttpDeps;
  readonly #avoided = new LRUCache<string, number>({ max: MAX_REMEMBERED });

  constructor(deps: ServerHttpDeps) {
    this.#deps = deps;
  }

  /**
   * One request and its whole answer, any status. The next target is tried where nothing of the request was sent,
   * or where it changes nothing (GET). `Host` is set here. Rejects with `HttpError`, `InvalidServerNameError` and
   * `NoServiceError`.
   */
  async request(server: string, request: HttpsRequest): Promise<HttpResponse> {
    const { https, resolver } = this.#deps;
    let failure: unknown = null;
    for (const route of this.#inOrder(await resolver.resolve(server))) {
      const headers = { ...request.headers, host: route.hostHeader };
      try {
        const answer = await https.request(route, { ...request, headers });
        this.#avoided.delete(nameOf(route));
        return answer;
      } catch (error) {
        failure = error;
        if (!(error instanceof HttpError) || error.reason !== 'connection') break;
        this.#avoided.set(nameOf(route), this.#deps.clock.now() + AVOIDED_MS);
        if (!error.nothingSent && request.method !== 'GET') break;
      }
    }
    throw failure ?? new HttpError('connection', `${server} has no address`);
  }

  #inOrder(routes: readonly Route[]): readonly Route[] {
    if (routes.length < 2) return routes;
    const now = this.#deps.clock.now();
    const isAvoided = (route: Route) => Number((this.#avoided.get(nameOf(route)) ?? 0) > now);
    return routes.toSorted((a, b) => isAvoided(a) - isAvoided(b));
  }
}

function nameOf({ host, port }: Route): string {
  return `${host} ${port}`;
}
