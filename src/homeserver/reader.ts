import { serverNameOf } from '../matrix/ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { HttpResponse } from '../platform/http-client.ts';
import { SingleFlight } from '../platform/single-flight.ts';
import { HomeserverDown, NotReadable } from './homeserver.ts';
import { type ApiRequest, enc, errcodeOf, type HomeserverApi, jsonObject } from './homeserver-api.ts';
import { withoutIdentity } from './identity.ts';
import type { Registration } from './registration.ts';

/** How the reader is known to the homeserver: by a registration, or as an ordinary account. */
export type ReaderSettings = { readonly registration: Registration } | { readonly accessToken: string };

/** A reader that could not be set up is not tried again sooner. */
const RETRY_AFTER_MS = 5_000;
const SERVER_ERROR = 500;

/** The user who is in no room, and requests made as this user. */
export class Reader {
  readonly #api: HomeserverApi;
  readonly #serverName: string;
  readonly #settings: ReaderSettings | null;
  readonly #clock: Clock;
  readonly #setUps = new SingleFlight<void>();
  #ready = false;
  #problem: string | null;
  #retryAt = Number.NEGATIVE_INFINITY;

  constructor(options: {
    readonly api: HomeserverApi;
    readonly serverName: string;
    readonly settings: ReaderSettings | null;
    readonly clock: Clock;
  }) {
    this.#api = options.api;
    this.#serverName = options.serverName;
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#problem =
      options.settings === null ? 'neither a registration nor a reader token is configured' : null;
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Why there is no reader, in a few words; null while it works or was not tried yet. */
  get problem(): string | null {
    return this.#problem;
  }

  /**
   * Registers the namespace user if need be and tries a request as the reader. Whether that works is in `ready`
   * and `problem` afterwards. Rejects with `HomeserverDown` alone.
   */
  setUp(): Promise<void> {
    return this.#setUps.run('reader', async () => {
      if (this.#settings === null) return;
      this.#became(await this.#trouble(this.#settings));
    });
  }

  /**
   * A request as the reader; 429 is waited out. Rejects with `NotReadable` where no reader is configured, and
   * with `HomeserverDown` also while the homeserver refuses the one that is: rooms are not closed by that.
   */
  async send(request: ApiRequest): Promise<HttpResponse> {
    if (this.#settings === null) throw new NotReadable('no reader is configured');
    if (!this.#ready && this.#clock.now() >= this.#retryAt) await this.setUp();
    if (!this.#ready) throw new HomeserverDown(`there is no reader: ${this.#problem}`);
    const response = await this.#api.sendPatiently(asReader(request, this.#settings));
    if (response.status === 401) this.#became('the homeserver no longer knows the token of the reader');
    return response;
  }

  /** What makes a request of the client-server API the reader's own; null while there is no reader. */
  signed(target: string): { readonly target: string; readonly authorization: string } | null {
    if (this.#settings === null || !this.#ready) return null;
    const { path, headers } = asReader({ method: 'GET', path: withoutIdentity(target) }, this.#settings);
    return { target: path, authorization: headers?.authorization ?? '' };
  }

  #became(problem: string | null): void {
    this.#problem = problem;
    this.#ready = problem === null;
    this.#retryAt = this.#clock.now() + RETRY_AFTER_MS;
  }

  async #trouble(settings: ReaderSettings): Promise<string | null> {
    if ('registration' in settings) {
      const { readerUserId } = settings.registration;
      if (serverNameOf(readerUserId) !== this.#serverName) {
        return `the registration is for ${readerUserId}, not for a user of ${this.#serverName}`;
      }
      const refused = await this.#register(settings.registration);
      if (refused !== null) return refused;
    }
    const path = '/_matrix/client/v3/account/whoami';
    const response = await this.#api.sendPatiently(asReader({ method: 'GET', path }, settings));
    if (response.status >= SERVER_ERROR) throw down(response);
    const userId = jsonObject(response.body)?.user_id;
    if (response.status !== 200) return refusal('the homeserver does not accept the reader', response);
    const expected = 'registration' in settings ? settings.registration.readerUserId : userId;
    return userId === expected ? null : `the homeserver takes the reader for ${String(userId)}`;
  }

  async #register({ asToken, readerUserId }: Registration): Promise<string | null> {
    const username = readerUserId.slice(1, readerUserId.indexOf(':'));
    const response = await this.#api.sendPatiently({
      method: 'POST',
      path: '/_matrix/client/v3/register',
      headers: { authorization: `Bearer ${asToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ type: 'm.login.application_service', username, inhibit_login: true }),
      repeatable: true,
    });
    if (response.status >= SERVER_ERROR) throw down(response);
    if (response.status === 200 || errcodeOf(response) === 'M_USER_IN_USE') return null;
    if (response.status === 401) return 'the homeserver has not loaded the registration, or another one';
    return refusal(`the homeserver does not register ${readerUserId}`, response);
  }
}

function asReader(request: ApiRequest, settings: ReaderSettings): ApiRequest {
  if ('accessToken' in settings) return withToken(request, settings.accessToken);
  const { asToken, readerUserId } = settings.registration;
  const separator = request.path.includes('?') ? '&' : '?';
  const path = `${request.path}${separator}user_id=${enc(readerUserId)}`;
  return withToken({ ...request, path }, asToken);
}

function withToken(request: ApiRequest, token: string): ApiRequest {
  return { ...request, headers: { ...request.headers, authorization: `Bearer ${token}` } };
}

function refusal(what: string, response: HttpResponse): string {
  return `${what}: ${response.status} ${errcodeOf(response) ?? ''}`.trimEnd();
}

function down(response: HttpResponse): HomeserverDown {
  return new HomeserverDown(`the homeserver answered ${response.status}`);
}
