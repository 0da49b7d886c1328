import { Agent } from 'undici';
import type { JsonObject } from '../matrix/json.ts';
import { isObject } from '../matrix/json.ts';
import { parseJson } from '../matrix/json-scan.ts';
import type { Clock } from '../platform/clock.ts';
import {
  createHttpClient,
  type HttpClient,
  HttpError,
  type HttpRequest,
  type HttpResponse,
} from '../platform/http-client.ts';
import { HomeserverDown, HomeserverRefusal } from './homeserver.ts';

/** Most answers are small and quick; what is not says so. */
const TIMEOUT_MS = 30_000;
const MAX_BYTES = 16 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 5_000;

/** 429 is waited out so often, so long at most each time. */
const PATIENT_TRIES = 8;
const SHORTEST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

export type ApiRequest = Omit<HttpRequest, 'origin' | 'timeoutMs' | 'maxBytes'> & {
  readonly timeoutMs?: number;
  readonly maxBytes?: number;
};

/** Requests to the homeserver's own address. */
export class HomeserverApi {
  readonly #origin: string;
  readonly #http: HttpClient;
  readonly #clock: Clock;

  constructor(origin: string, http: HttpClient, clock: Clock) {
    this.#origin = origin;
    this.#http = http;
    this.#clock = clock;
  }

  /** Any answer, of any status. Rejects with `HomeserverDown` alone. */
  async send(request: ApiRequest): Promise<HttpResponse> {
    try {
      return await this.#http({
        timeoutMs: TIMEOUT_MS,
        maxBytes: MAX_BYTES,
        ...request,
        origin: this.#origin,
      });
    } catch (error) {
      if (error instanceof HttpError) throw new HomeserverDown(error.message, { cause: error });
      throw error;
    }
  }

  /** As `send`, but 429 is waited out and asked again, for some seconds. */
  async sendPatiently(request: ApiRequest): Promise<HttpResponse> {
    for (let tried = 1; ; tried++) {
      const response = await this.send(request);
      if (response.status !== 429 || tried === PATIENT_TRIES || request.signal?.aborted) return response;
      await this.#clock.sleep(waitOf(response, tried), request.signal);
    }
  }
}

/** A connection pool without bounds: hundreds of long-polls are under way at once. */
export function homeserverHttp(clock: Clock): { http: HttpClient; close(): Promise<void> } {
  const agent = new Agent({ connect: { timeout: CONNECT_TIMEOUT_MS }, headersTimeout: 0, bodyTimeout: 0 });
  return { http: createHttpClient(agent, clock), close: () => agent.destroy() };
}

/** The body of a 200. Throws `HomeserverDown` for 5xx and `HomeserverRefusal` for the rest. */
export function bodyOf(response: HttpResponse): Buffer {
  const { status, body } = response;
  if (status === 200) return body;
  if (status >= 500) throw new HomeserverDown(`the homeserver answered ${status}`);
  throw new HomeserverRefusal(status, body);
}

/** The JSON object in the body of a 200. Throws as `bodyOf`, and `HomeserverDown` where there is none. */
export function objectOf(response: HttpResponse): JsonObject {
  const json = jsonObject(bodyOf(response));
  if (json === null) throw new HomeserverDown('the homeserver answered 200 with what is no JSON object');
  return json;
}

/** The `errcode` of a refusal; null where it has none. */
export function errcodeOf({ body }: Pick<HttpResponse, 'body'>): string | null {
  const errcode = jsonObject(body)?.errcode;
  return typeof errcode === 'string' ? errcode : null;
}

/** A body as a JSON object; null where it is none. */
export function jsonObject(body: Buffer): JsonObject | null {
  try {
    const json = parseJson(body);
    return isObject(json) ? json : null;
  } catch {
    return null;
  }
}

/** A path segment or query value. */
export const enc = encodeURIComponent;

function waitOf(response: HttpResponse, tried: number): number {
  const told = jsonObject(response.body)?.retry_after_ms;
  const wait = typeof told === 'number' && told > 0 ? told : SHORTEST_WAIT_MS * 2 ** (tried - 1);
  return Math.min(LONGEST_WAIT_MS, Math.max(SHORTEST_WAIT_MS, wait));
}
