import {
  type BesideEvent,
  type Caller,
  type Followed,
  type Homeserver,
  HomeserverRefusal,
  type Identity,
  NotReadable,
  type ReadEvent,
  type RoomSnapshot,
} from '../../src/homeserver/homeserver.ts';
import { pduListOf } from '../../src/homeserver/pdu-list.ts';
import type { JsonObject } from '../../src/matrix/json.ts';
import type { Pdu } from '../../src/matrix/pdu.ts';
import type { BuiltEvent, RoomBuilder } from './room-builder.ts';

interface Room {
  readonly builder: RoomBuilder;
  membership: 'resident' | 'partial' | 'absent';
  open: boolean;
}

/**
 * Our own homeserver, in the rooms that a test builds. Its stream token is the number of events of the room:
 * `s7` stands behind the seventh. Everything is visible to non-members until a test says otherwise.
 */
export class RoomHomeserver implements Homeserver {
  readonly serverName: string;
  readonly mostTimelineEvents: number = 1000;
  readonly rooms = new Map<string, Room>();
  readonly invisible = new Set<string>();
  readonly aliases = new Map<string, { roomId: string; servers: string[] }>();
  readonly identities = new Map<string, Identity>();
  /** The rooms of a user, by the `Authorization` header. */
  readonly joined = new Map<string, string[]>();
  /** Runs before `follow` gives its first token. */
  beforeFollow: (() => void) | null = null;
  readonly filters = new Map<string, JsonObject>();
  /** Account data, by `userId type`. */
  readonly accountDataOf = new Map<string, JsonObject>();
  ready = true;
  /** What every call rejects with, while set. */
  failure: Error | null = null;
  /** Calls by name, for counting. */
  readonly calls: string[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(serverName = 'here.test') {
    this.serverName = serverName;
  }

  add(builder: RoomBuilder): Room {
    const room: Room = { builder, membership: 'resident', open: true };
    this.rooms.set(builder.roomId, room);
    return room;
  }

  /** To be called after a room has got events: long-polls look again. */
  wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  close(roomId: string): void {
    const room = this.rooms.get(roomId);
    if (room !== undefined) room.open = false;
    this.wake();
  }

  readerReady(): boolean {
    return this.ready;
  }

  asReader(target: string) {
    return this.ready ? { target, authorization: 'Bearer reader' } : null;
  }

  forget(_caller: Caller | null): void {
    this.#called('forget');
  }

  async joinedRooms(caller: Caller): Promise<string[]> {
    this.#called('joinedRooms');
    return this.joined.get(caller.authorization ?? '') ?? [];
  }

  async whoami(caller: Caller): Promise<Identity> {
    this.#called('whoami');
    const identity = this.identities.get(caller.authorization ?? '');
    if (identity === undefined) throw new Error('nobody has this token');
    return identity;
  }

  remembered(caller: Caller): Identity | null {
    return this.identities.get(caller.authorization ?? '') ?? null;
  }

  async filter(_caller: Caller, userId: string, filterId: string): Promise<JsonObject> {
    this.#called('filter');
    const filter = this.filters.get(`${userId} ${filterId}`);
    if (filter === undefined) throw new HomeserverRefusal(404, Buffer.from('{"errcode":"M_NOT_FOUND"}'));
    return filter;
  }

  async accountData(_caller: Caller, userId: string, type: string): Promise<JsonObject | null> {
    this.#called('accountData');
    return this.accountDataOf.get(`${userId} ${type}`) ?? null;
  }

  /** By target: what `readAs` answers with 200; 404 for any other. */
  readonly answers = new Map<string, JsonObject>();

  async readAs(_caller: Caller, target: string) {
    this.#called(`readAs ${target}`);
    const body = this.answers.get(target);
    const missing = { errcode: 'M_NOT_FOUND', error: 'by the homeserver' };
    return { status: body === undefined ? 404 : 200, body: Buffer.from(JSON.stringify(body ?? missing)) };
  }

  async tokenBeside(_caller: Caller, roomId: string, { eventId, side }: BesideEvent): Promise<string | null> {
    this.#called('tokenBeside');
    const at = this.rooms.get(roomId)?.builder.events.findIndex((event) => event.eventId === eventId) ?? -1;
    return at === -1 ? null : `s${side === 'before' ? at + 1 : at}`;
  }

  async resolveAlias(alias: string) {
    this.#called('resolveAlias');
    return this.aliases.get(alias) ?? null;
  }

  async follow(
    roomId: string,
    from: string | null,
    wait: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Followed> {
    this.#called('follow');
    const { builder } = this.#open(roomId);
    const end = () => `s${builder.events.length}`;
    if (from === null) this.beforeFollow?.();
    if (from === null) return { events: [], end: end() };
    if (wait.timeoutMs > 0 && from === end()) await this.#woken(wait.signal);
    if (this.failure !== null) throw this.failure;
    const after = this.#open(roomId).builder.events.slice(Number(from.slice(1)));
    return {
      events: after.filter(({ eventId }) => !this.invisible.has(eventId)).map((e) => asRead(builder, e)),
      end: end(),
    };
  }

  async history(roomId: string, from: string | null, limit: number) {
    this.#called('history');
    const { builder } = this.#open(roomId);
    const before = from === null ? builder.events.length : Number(from.slice(1));
    const visible = builder.events.slice(0, before).filter(({ eventId }) => !this.invisible.has(eventId));
    const events = visible
      .slice(-limit)
      .toReversed()
      .map((event) => asRead(builder, event));
    return { events, end: null };
  }

  async context(roomId: string, eventId: string, limit: number) {
    this.#called('context');
    const { builder } = this.#present(roomId);
    const at = builder.events.findIndex((event) => event.eventId === eventId);
    const event = builder.events[at];
    if (event === undefined || this.invisible.has(eventId)) throw new NotReadable(roomId);
    const visible = ({ eventId }: BuiltEvent) => !this.invisible.has(eventId);
    const after = builder.events
      .slice(at + 1)
      .filter(visible)
      .slice(0, limit / 2);
    return {
      before: [],
      event: asRead(builder, event),
      after: after.map((e) => asRead(builder, e)),
      start: `s${at}`,
      end: `s${at + 1 + after.length}`,
    };
  }

  async currentState(roomId: string): Promise<JsonObject[]> {
    this.#called('currentState');
    return this.#open(roomId).builder.currentState.map(asClientEvent);
  }

  async stateEvent(roomId: string, type: string, stateKey: string): Promise<JsonObject | null> {
    this.#called('stateEvent');
    const state = this.#open(roomId).builder.currentState;
    const event = state.find(({ pdu }) => pdu.type === type && pdu.state_key === stateKey);
    return event === undefined ? null : asClientEvent(event);
  }

  async visibleEvent(roomId: string, eventId: string): Promise<JsonObject | null> {
    this.#called('visibleEvent');
    if (this.invisible.has(eventId)) return null;
    const event = this.#present(roomId).builder.events.find((known) => known.eventId === eventId);
    return event === undefined ? null : asClientEvent(event);
  }

  async membership(roomId: string) {
    this.#called('membership');
    return this.rooms.get(roomId)?.membership ?? 'absent';
  }

  async event(eventId: string): Promise<Pdu | null> {
    this.#called('event');
    for (const { builder } of this.rooms.values()) {
      const event = builder.events.find((known) => known.eventId === eventId);
      if (event !== undefined) return event.pdu;
    }
    return null;
  }

  async extremities(roomId: string) {
    this.#called('extremities');
    const { builder } = this.#present(roomId);
    return { roomVersion: builder.version, eventIds: [builder.latest.eventId] };
  }

  async stateBefore(roomId: string, eventId: string) {
    this.#called('stateBefore');
    const { events, authChain } = this.#present(roomId).builder;
    const at = events.findIndex((event) => event.eventId === eventId);
    if (at === -1) throw new HomeserverRefusal(404, Buffer.from('{"errcode":"M_NOT_FOUND"}'));
    const state = new Map<string, Pdu>();
    for (const { pdu } of events.slice(0, at)) {
      if (typeof pdu.state_key === 'string') state.set(`${pdu.type}\u0000${pdu.state_key}`, pdu);
    }
    return { state: [...state.values()], authChain: authChain.map(({ pdu }) => pdu) };
  }

  async snapshot(roomId: string): Promise<RoomSnapshot> {
    this.#called('snapshot');
    const { version, currentState, authChain, latest } = this.#present(roomId).builder;
    const find = (type: string) =>
      currentState.find(({ pdu }) => pdu.type === type && pdu.state_key === '')?.pdu ?? null;
    return {
      roomVersion: version,
      state: pduListOf(currentState.map(({ pdu }) => pdu)),
      authChain: pduListOf(authChain.map(({ pdu }) => pdu)),
      latest: latest.pdu,
      latestId: latest.eventId,
      visibility: find('m.room.history_visibility'),
      encryption: find('m.room.encryption'),
    };
  }

  selfRequest: Homeserver['selfRequest'] = unscripted;
  notaryKeys = unscripted;
  ownKeys = unscripted;

  #called(name: string): void {
    this.calls.push(name);
    if (this.failure !== null) throw this.failure;
  }

  #present(roomId: string): Room {
    const room = this.rooms.get(roomId);
    if (room === undefined || room.membership === 'absent') throw new NotReadable(roomId);
    return room;
  }

  #open(roomId: string): Room {
    const room = this.#present(roomId);
    if (!room.open) throw new NotReadable(roomId);
    return room;
  }

  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = () => {
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', () => {
        this.#waiting.delete(wake);
        reject(new Error('aborted'));
      });
    });
  }
}

/** With `replaces`, as the homeserver tells it: the state event of the slot that stood before. */
function asRead(builder: RoomBuilder, event: BuiltEvent): ReadEvent {
  const { pdu } = event;
  const earlier = builder.events.slice(0, builder.events.indexOf(event));
  const replaced = earlier.findLast(
    (other) =>
      typeof pdu.state_key === 'string' &&
      other.pdu.type === pdu.type &&
      other.pdu.state_key === pdu.state_key,
  );
  return { eventId: event.eventId, pdu, replaces: replaced?.eventId ?? null };
}

function asClientEvent({ eventId, pdu }: BuiltEvent): JsonObject {
  const { type, sender, content, origin_server_ts } = pdu;
  const stateKey = typeof pdu.state_key === 'string' ? { state_key: pdu.state_key } : {};
  const unsigned = { age: 5, membership: 'leave' };
  return { type, sender, content, origin_server_ts, event_id: eventId, ...stateKey, unsigned };
}

function unscripted(): Promise<never> {
  return Promise.reject(new Error('not scripted'));
}
