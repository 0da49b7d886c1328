import { randomBytes } from 'node:crypto';
import { type Answer, type Json, send } from './http.ts';

export type { Answer, Json } from './http.ts';

export interface ClientEvent extends Json {
  readonly type: string;
  readonly event_id: string;
  readonly sender: string;
  readonly content: Json;
  readonly state_key?: string;
}

export interface SyncRoom {
  readonly state?: { readonly events: readonly ClientEvent[] };
  readonly timeline?: {
    readonly events: readonly ClientEvent[];
    readonly limited: boolean;
    readonly prev_batch: string;
  };
}

type SyncRooms = Readonly<Record<string, SyncRoom>>;

export interface SyncAnswer {
  readonly next_batch: string;
  readonly rooms: {
    readonly join: SyncRooms;
    readonly peek: SyncRooms;
    readonly invite: SyncRooms;
    readonly leave: SyncRooms;
  };
  readonly answer: Answer;
}

export interface SyncOptions {
  readonly since?: string;
  /** How long the server may wait, ms; default 0. */
  readonly timeout?: number;
  /** An inline filter, or the ID of a stored one. */
  readonly filter?: Json | string;
  readonly fullState?: boolean;
  readonly signal?: AbortSignal;
}

/** An answer that was not the 2xx that a helper needs to go on. */
export class UnexpectedAnswerError extends Error {
  override readonly name = 'UnexpectedAnswerError';
  readonly answer: Answer;

  constructor(method: string, path: string, answer: Answer) {
    super(`${method} ${path} answered ${answer.status} ${answer.text.slice(0, 500)}`);
    this.answer = answer;
  }
}

/** A device of a user. `request` gives any answer; the named helpers throw unless it was 2xx. */
export class MatrixClient {
  /** Where it sends to; may be changed, as a client does that is pointed elsewhere. */
  url: string;
  readonly userId: string;
  readonly deviceId: string;
  readonly token: string;

  constructor(url: string, account: { userId: string; deviceId: string; token: string }) {
    this.url = url;
    this.userId = account.userId;
    this.deviceId = account.deviceId;
    this.token = account.token;
  }

  /** `path` is what follows `/_matrix/client`, already percent-encoded. */
  request(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Answer> {
    const options = { token: this.token, ...(body !== undefined && { body }), ...(signal && { signal }) };
    return send(this.url, method, `/_matrix/client${path}`, options);
  }

  async require(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.request(method, path, body);
    if (answer.status >= 300) throw new UnexpectedAnswerError(method, path, answer);
    return answer.body;
  }

  /** The new room's ID. */
  async createRoom(options: Json = {}): Promise<string> {
    return String((await this.require('POST', '/v3/createRoom', options)).room_id);
  }

  /** A room that anyone may read and join. */
  createWorldReadableRoom(options: Json = {}): Promise<string> {
    const { initial_state: further = [], ...rest } = options;
    return this.createRoom({
      preset: 'public_chat',
      ...rest,
      initial_state: [
        {
          type: 'm.room.history_visibility',
          state_key: '',
          content: { history_visibility: 'world_readable' },
        },
        ...(further as unknown[]),
      ],
    });
  }

  /** Sends an event and gives its ID. */
  async send(roomId: string, type: string, content: Json): Promise<string> {
    const path = `/v3/rooms/${enc(roomId)}/send/${enc(type)}/${randomBytes(8).toString('hex')}`;
    return String((await this.require('PUT', path, content)).event_id);
  }

  sendText(roomId: string, body: string): Promise<string> {
    return this.send(roomId, 'm.room.message', { msgtype: 'm.text', body });
  }

  /** Sets a state event and gives its ID. */
  async sendState(roomId: string, type: string, content: Json, stateKey = ''): Promise<string> {
    const path = `/v3/rooms/${enc(roomId)}/state/${enc(type)}/${enc(stateKey)}`;
    return String((await this.require('PUT', path, content)).event_id);
  }

  async redact(roomId: string, eventId: string): Promise<string> {
    const path = `/v3/rooms/${enc(roomId)}/redact/${enc(eventId)}/${randomBytes(8).toString('hex')}`;
    return String((await this.require('PUT', path, {})).event_id);
  }

  async join(roomIdOrAlias: string, via: readonly string[] = []): Promise<string> {
    return String(
      (await this.require('POST', `/v3/join/${enc(roomIdOrAlias)}${serverNames(via)}`, {})).room_id,
    );
  }

  async leave(roomId: string): Promise<void> {
    await this.require('POST', `/v3/rooms/${enc(roomId)}/leave`, {});
  }

  peek(roomIdOrAlias: string, via: readonly string[] = []): Promise<Answer> {
    return this.request('POST', `/v3/peek/${enc(roomIdOrAlias)}${serverNames(via)}`, {});
  }

  unpeek(roomId: string): Promise<Answer> {
    return this.request('POST', `/v3/rooms/${enc(roomId)}/unpeek`, {});
  }

  async sync(options: SyncOptions = {}): Promise<SyncAnswer> {
    const query = new URLSearchParams({ timeout: String(options.timeout ?? 0) });
    if (options.since !== undefined) query.set('since', options.since);
    if (options.fullState) query.set('full_state', 'true');
    const { filter } = options;
    if (filter !== undefined)
      query.set('filter', typeof filter === 'string' ? filter : JSON.stringify(filter));
    const answer = await this.request('GET', `/v3/sync?${query}`, undefined, options.signal);
    if (answer.status !== 200) throw new UnexpectedAnswerError('GET', '/v3/sync', answer);
    return syncAnswer(answer);
  }

  /** Syncs on from `since` until an answer satisfies `enough`, and gives that one. */
  async syncUntil(
    since: string | undefined,
    enough: (answer: SyncAnswer) => boolean,
    timeoutMs = 15_000,
  ): Promise<SyncAnswer> {
    const deadline = Date.now() + timeoutMs;
    let from = since;
    while (Date.now() < deadline) {
      const wait = Math.max(0, deadline - Date.now());
      const answer = await this.sync({ ...(from !== undefined && { since: from }), timeout: wait });
      if (enough(answer)) return answer;
      from = answer.next_batch;
    }
    throw new Error(`No /sync of ${this.userId} gave what was waited for within ${timeoutMs} ms`);
  }
}

/** Registers `name` (open registration, dummy authentication) and gives its first device. */
export async function register(url: string, name: string): Promise<MatrixClient> {
  const body = { auth: { type: 'm.login.dummy' }, username: name, password: passwordOf(name) };
  return accountOf(url, '/_matrix/client/v3/register', body);
}

/** A further device of a user whom `register` made. */
export async function login(url: string, name: string, deviceId?: string): Promise<MatrixClient> {
  const body = {
    type: 'm.login.password',
    identifier: { type: 'm.id.user', user: name },
    password: passwordOf(name),
    ...(deviceId !== undefined && { device_id: deviceId }),
  };
  return accountOf(url, '/_matrix/client/v3/login', body);
}

/** The password that `register` gives. */
export function passwordOf(name: string): string {
  return `password of ${name}`;
}

/** A path segment or query value. */
export function enc(text: string): string {
  return encodeURIComponent(text);
}

async function accountOf(url: string, path: string, body: Json): Promise<MatrixClient> {
  const answer = await send(url, 'POST', path, { body });
  if (answer.status !== 200) throw new UnexpectedAnswerError('POST', path, answer);
  const { user_id: userId, device_id: deviceId, access_token: token } = answer.body;
  return new MatrixClient(url, { userId: String(userId), deviceId: String(deviceId), token: String(token) });
}

function serverNames(via: readonly string[]): string {
  return via.length === 0 ? '' : `?${via.map((name) => `server_name=${enc(name)}`).join('&')}`;
}

function syncAnswer(answer: Answer): SyncAnswer {
  const rooms = (answer.body.rooms ?? {}) as Partial<SyncAnswer['rooms']>;
  const { join = {}, peek = {}, invite = {}, leave = {} } = rooms;
  return { next_batch: String(answer.body.next_batch), rooms: { join, peek, invite, leave }, answer };
}
