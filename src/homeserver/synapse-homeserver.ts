import type { JsonObject } from '../matrix/json.ts';
import type { Pdu } from '../matrix/pdu.ts';
import { parseSigningKeys, type SigningKey, SigningKeyError } from '../matrix/signing-key.ts';
import type { Clock } from '../platform/clock.ts';
import type { HttpClient } from '../platform/http-client.ts';
import { ClientReads } from './client-reads.ts';
import { notaryKeys, resolveAlias } from './directory.ts';
import type {
  BesideEvent,
  Caller,
  Context,
  Followed,
  Homeserver,
  Identity,
  ReadEvent,
  RoomSnapshot,
} from './homeserver.ts';
import { HomeserverApi, homeserverHttp, objectOf } from './homeserver-api.ts';
import { Identities } from './identity.ts';
import { tokenBeside } from './place-tokens.ts';
import { type HomeserverReport, probe } from './probe.ts';
import { Reader, type ReaderSettings } from './reader.ts';
import { parseRegistration } from './registration.ts';
import { SelfFederation } from './self-federation.ts';
import { takeSnapshot } from './snapshot.ts';

export interface HomeserverOptions {
  /** Scheme, host and port of its client and federation APIs. */
  readonly url: string;
  readonly serverName: string;
  /** The homeserver's own key file; the first key signs, no other verifies. */
  readonly signingKeyText: string;
  /** Null: nothing is read as a reader, and rooms of this homeserver cannot be peeked. */
  readonly reader:
    | { readonly kind: 'token'; readonly token: string }
    | { readonly kind: 'registration'; readonly text: string }
    | null;
  readonly clock: Clock;
}

/** With a connection pool of its own. Throws `SigningKeyError` and `RegistrationError`. */
export function createHomeserver(options: HomeserverOptions): SynapseHomeserver {
  const { signingKeyText, reader, ...rest } = options;
  const [signingKey] = parseSigningKeys(signingKeyText);
  if (signingKey === undefined) throw new SigningKeyError('The signing key file holds no key');
  const settings = readerSettings(reader);
  const { http, close } = homeserverHttp(options.clock);
  return new SynapseHomeserver({ ...rest, signingKey, reader: settings, http, close });
}

function readerSettings(reader: HomeserverOptions['reader']): ReaderSettings | null {
  if (reader === null) return null;
  if (reader.kind === 'token') return { accessToken: reader.token };
  return { registration: parseRegistration(reader.text) };
}

interface Parts extends Pick<HomeserverOptions, 'url' | 'serverName' | 'clock'> {
  readonly signingKey: SigningKey;
  readonly reader: ReaderSettings | null;
  readonly http: HttpClient;
  readonly close: () => Promise<void>;
}

/** Synapse, by its client-server API as a user who is in no room, and by federation with itself. */
export class SynapseHomeserver implements Homeserver {
  readonly serverName: string;
  /** `filter_timeline_limit`, unless it is configured. */
  readonly mostTimelineEvents = 100;
  /** The homeserver's own first key. */
  readonly signingKey: SigningKey;
  /** Ends all requests under way. */
  readonly close: () => Promise<void>;
  readonly #api: HomeserverApi;
  readonly #reader: Reader;
  readonly #reads: ClientReads;
  readonly #self: SelfFederation;
  readonly #identities: Identities;

  constructor({ url, serverName, signingKey, reader, http, close, clock }: Parts) {
    this.serverName = serverName;
    this.signingKey = signingKey;
    this.close = close;
    this.#api = new HomeserverApi(url, http, clock);
    this.#reader = new Reader({ api: this.#api, serverName, settings: reader, clock });
    this.#reads = new ClientReads(this.#reader, serverName, (eventId) => this.event(eventId));
    this.#self = new SelfFederation({
      api: this.#api,
      serverName,
      signingKey,
      joinedLocalUser: (roomId) => this.#reads.joinedLocalUser(roomId),
    });
    this.#identities = new Identities(this.#api, clock);
  }

  /** At start and whenever its health is asked for; also sets up the reader. Never rejects. */
  probe(): Promise<HomeserverReport> {
    const { serverName } = this;
    return probe({
      api: this.#api,
      self: this.#self,
      reader: this.#reader,
      serverName,
      signingKey: this.signingKey,
    });
  }

  readerReady(): boolean {
    return this.#reader.ready;
  }

  asReader(target: string): { target: string; authorization: string } | null {
    return this.#reader.signed(target);
  }

  whoami(caller: Caller): Promise<Identity> {
    return this.#identities.whoami(caller);
  }

  remembered(caller: Caller): Identity | null {
    return this.#identities.remembered(caller);
  }

  tokenBeside(caller: Caller, roomId: string, beside: BesideEvent): Promise<string | null> {
    return tokenBeside(this.#api, caller, roomId, beside);
  }

  forget(caller: Caller | null): void {
    this.#identities.forget(caller);
  }

  joinedRooms(caller: Caller): Promise<string[]> {
    return this.#identities.joinedRooms(caller);
  }

  filter(caller: Caller, userId: string, filterId: string): Promise<JsonObject> {
    return this.#identities.filter(caller, userId, filterId);
  }

  accountData(caller: Caller, userId: string, type: string): Promise<JsonObject | null> {
    return this.#identities.accountData(caller, userId, type);
  }

  readAs(
    caller: Caller,
    target: string,
    limits: { readonly timeoutMs: number; readonly maxBytes: number },
  ): Promise<{ status: number; body: Buffer }> {
    return this.#identities.readAs(caller, target, limits);
  }

  resolveAlias(alias: string): Promise<{ roomId: string; servers: string[] } | null> {
    return resolveAlias(this.#api, alias);
  }

  follow(
    roomId: string,
    from: string | null,
    wait: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Followed> {
    return this.#reads.follow(roomId, from, wait);
  }

  history(
    roomId: string,
    from: string | null,
    limit: number,
  ): Promise<{ events: ReadEvent[]; end: string | null }> {
    return this.#reads.history(roomId, from, limit);
  }

  context(roomId: string, eventId: string, limit: number): Promise<Context> {
    return this.#reads.context(roomId, eventId, limit);
  }

  currentState(roomId: string): Promise<JsonObject[]> {
    return this.#reads.currentState(roomId);
  }

  stateEvent(roomId: string, type: string, stateKey: string): Promise<JsonObject | null> {
    return this.#reads.stateEvent(roomId, type, stateKey);
  }

  visibleEvent(roomId: string, eventId: string): Promise<JsonObject | null> {
    return this.#reads.visibleEvent(roomId, eventId);
  }

  membership(roomId: string): Promise<'resident' | 'partial' | 'absent'> {
    return this.#self.membership(roomId);
  }

  event(eventId: string): Promise<Pdu | null> {
    return this.#self.event(eventId);
  }

  async extremities(roomId: string): Promise<{ roomVersion: string; eventIds: string[] }> {
    const found = await this.#self.extremities(roomId);
    this.#reads.rules.remember(roomId, found.roomVersion);
    return found;
  }

  stateBefore(roomId: string, eventId: string): Promise<{ state: Pdu[]; authChain: Pdu[] }> {
    return this.#self.stateBefore(roomId, eventId);
  }

  snapshot(roomId: string): Promise<RoomSnapshot> {
    return takeSnapshot(
      {
        extremities: (room) => this.extremities(room),
        eachStateBefore: (room, eventId, visit) => this.#self.eachStateBefore(room, eventId, visit),
        event: (eventId) => this.event(eventId),
        currentState: (room) => this.currentState(room),
      },
      roomId,
    );
  }

  async selfRequest(
    method: 'GET' | 'POST',
    path: string,
    body?: JsonObject,
  ): Promise<{ status: number; body: Buffer }> {
    const response = await this.#self.request(method, path, body);
    return { status: response.status, body: response.body };
  }

  async ownKeys(): Promise<JsonObject> {
    return objectOf(await this.#api.send({ method: 'GET', path: '/_matrix/key/v2/server' }));
  }

  notaryKeys(server: string, keyId: string, minimumValidUntil: number): Promise<JsonObject[]> {
    return notaryKeys(this.#api, server, keyId, minimumValidUntil);
  }
}
