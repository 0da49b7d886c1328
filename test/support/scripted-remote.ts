import type { JsonObject } from '../../src/matrix/json.ts';
import { MAX_JSON_VALUES } from '../../src/matrix/json-scan.ts';
import { LARGE_BODY_BYTES } from '../../src/platform/collected-body.ts';
import {
  RemoteRefusal,
  type RemoteRequest,
  type RemoteServers,
  RemoteUnreachable,
} from '../../src/remote-servers/remote-servers.ts';

export interface RemoteCall {
  readonly server: string;
  readonly method: string;
  /** Decoded, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: JsonObject;
  readonly signal: AbortSignal | undefined;
}

type Answer = JsonObject | Error | ((call: RemoteCall) => JsonObject | Promise<JsonObject>);

/** Other servers as a test tells them to be. Those it says nothing of cannot be reached. */
export class ScriptedRemote implements RemoteServers {
  readonly calls: RemoteCall[] = [];
  /** Server → what it says it runs; null: it does not say. The others run Synapse. */
  readonly runs = new Map<string, string | null>();
  /** Servers to which a request has failed a moment ago. */
  readonly leftInPeace = new Set<string>();
  readonly #answers: { server: string; method: string; part: string; answer: Answer }[] = [];

  /** What `server` answers to this method on paths that contain `part`. The newest word counts. */
  on(server: string, method: string, part: string, answer: Answer): void {
    this.#answers.unshift({ server, method, part, answer });
  }

  refuse(server: string, method: string, part: string, status: number, errcode: string | null = null): void {
    this.on(server, method, part, new RemoteRefusal(server, status, errcode, {}));
  }

  async request(server: string, request: RemoteRequest): Promise<JsonObject> {
    const [target = '', search = ''] = request.path.split('?', 2);
    const path = decodeURIComponent(target);
    const query = new URLSearchParams(search);
    const body =
      request.canonicalBody === undefined
        ? (request.body ?? {})
        : (JSON.parse(request.canonicalBody) as JsonObject);
    const call = { server, method: request.method, path, query, body, signal: request.signal };
    this.calls.push(call);
    const found = this.#answers.find(
      (known) => known.server === server && known.method === request.method && path.includes(known.part),
    );
    if (found === undefined) throw new RemoteUnreachable(`${server} cannot be reached`);
    if (found.answer instanceof Error) throw found.answer;
    const answer = typeof found.answer === 'function' ? await found.answer(call) : found.answer;
    if (request.readLarge === undefined) return answer;
    const bytes = Buffer.from(JSON.stringify(answer));
    const maxValues = request.maxValues ?? MAX_JSON_VALUES;
    return bytes.length > LARGE_BODY_BYTES ? request.readLarge(bytes, { maxValues }) : answer;
  }

  /** The calls of one method, as `server path`. */
  sent(method: string): string[] {
    return this.calls.filter((call) => call.method === method).map(({ server, path }) => `${server} ${path}`);
  }

  async software(server: string): Promise<{ name: string; version: string } | null> {
    const name = this.runs.get(server);
    return name === null ? null : { name: name ?? 'Synapse', version: '1' };
  }

  availableIn(server: string): number {
    return this.leftInPeace.has(server) ? 30_000 : 0;
  }
}
