import type { Homeserver } from '../../../src/homeserver/homeserver.ts';
import { NotReadable } from '../../../src/homeserver/homeserver.ts';
import { pduListOf } from '../../../src/homeserver/pdu-list.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import type { Pdu } from '../../../src/matrix/pdu.ts';

interface Room {
  version: string;
  membership: 'resident' | 'partial' | 'absent';
  state: Map<string, JsonObject>;
  /** The state before any event, where the present one has gone on from it. */
  before: Map<string, JsonObject> | null;
  latest: string;
}

/** Our own homeserver as a test tells it to be. What a test does not script rejects. */
export class ScriptedHomeserver implements Homeserver {
  readonly serverName = 'here.test';
  readonly mostTimelineEvents = 100;
  readonly rooms = new Map<string, Room>();
  /** Every event it has, by ID, with whether a non-member may see it. */
  readonly events = new Map<string, { pdu: Pdu; visible: boolean }>();
  readonly selfAnswers = new Map<string, JsonObject>();
  readonly selfRequests: { method: string; path: string; body: JsonObject | undefined }[] = [];
  snapshots = 0;
  statesBefore = 0;
  ready = true;
  /** Runs inside `snapshot`, before its answer is made. */
  duringSnapshot: () => Promise<void> = async () => {};

  addRoom(roomId: string, version = '10'): Room {
    const room: Room = { version, membership: 'resident', state: new Map(), before: null, latest: '$latest' };
    this.rooms.set(roomId, room);
    this.setState(roomId, 'm.room.create', '', { room_version: version });
    this.setState(roomId, 'm.room.history_visibility', '', { history_visibility: 'world_readable' });
    this.addEvent('$latest', { type: 'm.room.message', room_id: roomId, content: { body: 'newest' } });
    return room;
  }

  setState(roomId: string, type: string, stateKey: string, content: JsonObject): void {
    const event = {
      type,
      state_key: stateKey,
      content,
      sender: '@a:here.test',
      event_id: `$${type}${stateKey}`,
    };
    this.rooms.get(roomId)?.state.set(`${type} ${stateKey}`, event);
  }

  /** State that is set from now on comes of events that the room's log does not have yet. */
  runAhead(roomId: string): void {
    const room = this.#room(roomId);
    room.before = new Map(room.state);
  }

  addEvent(eventId: string, fields: JsonObject, visible = true): void {
    const pdu = {
      sender: '@a:here.test',
      content: {},
      depth: 1,
      origin_server_ts: 1,
      type: 'm.test',
      ...fields,
    };
    this.events.set(eventId, { pdu, visible });
  }

  ownKeys(): Promise<JsonObject> {
    return Promise.reject(new Error('not scripted'));
  }

  readerReady(): boolean {
    return this.ready;
  }

  async membership(roomId: string) {
    return this.rooms.get(roomId)?.membership ?? 'absent';
  }

  async currentState(roomId: string): Promise<JsonObject[]> {
    return [...this.#open(roomId).state.values()];
  }

  async stateEvent(roomId: string, type: string, stateKey: string): Promise<JsonObject | null> {
    return this.#open(roomId).state.get(`${type} ${stateKey}`) ?? null;
  }

  async extremities(roomId: string) {
    const room = this.#room(roomId);
    return { roomVersion: room.version, eventIds: [room.latest] };
  }

  async snapshot(roomId: string) {
    this.snapshots += 1;
    await this.duringSnapshot();
    const room = this.#room(roomId);
    const state = [...room.state.values()] as Pdu[];
    const latest = this.events.get(room.latest)?.pdu as Pdu;
    return {
      roomVersion: room.version,
      state: pduListOf(state),
      authChain: pduListOf(state.slice(0, 1)),
      latest,
      latestId: room.latest,
      visibility: (room.state.get('m.room.history_visibility ') as Pdu | undefined) ?? null,
      encryption: (room.state.get('m.room.encryption ') as Pdu | undefined) ?? null,
    };
  }

  async history(roomId: string, _from: string | null, limit: number) {
    const room = this.#open(roomId);
    const seen = [...this.events].filter(([, { visible }]) => visible).reverse();
    const events = seen.slice(0, limit).map(([eventId, { pdu }]) => ({ eventId, pdu, replaces: null }));
    return { events, end: room.latest };
  }

  async visibleEvent(_roomId: string, eventId: string): Promise<JsonObject | null> {
    const event = this.events.get(eventId);
    return event?.visible ? event.pdu : null;
  }

  async event(eventId: string): Promise<Pdu | null> {
    return this.events.get(eventId)?.pdu ?? null;
  }

  async stateBefore(roomId: string, _eventId: string) {
    this.statesBefore += 1;
    const room = this.#room(roomId);
    return { state: [...(room.before ?? room.state).values()] as Pdu[], authChain: [] };
  }

  async selfRequest(method: 'GET' | 'POST', path: string, body?: JsonObject) {
    this.selfRequests.push({ method, path, body });
    const answer = this.selfAnswers.get(path);
    return { status: answer === undefined ? 404 : 200, body: Buffer.from(JSON.stringify(answer ?? {})) };
  }

  remembered(): null {
    return null;
  }

  follow = unscripted;
  context = unscripted;
  whoami = unscripted;
  forget = (): void => {};
  joinedRooms = unscripted;
  filter = unscripted;
  accountData = unscripted;
  readAs = unscripted;
  asReader = () => null;
  tokenBeside = unscripted;
  resolveAlias = unscripted;
  notaryKeys = unscripted;

  #room(roomId: string): Room {
    const room = this.rooms.get(roomId);
    if (room === undefined) throw new NotReadable(roomId);
    return room;
  }

  /** As the reader sees it. */
  #open(roomId: string): Room {
    const room = this.#room(roomId);
    const visibility = room.state.get('m.room.history_visibility ')?.content as JsonObject | undefined;
    if (visibility?.history_visibility !== 'world_readable') throw new NotReadable(roomId);
    return room;
  }
}

function unscripted(): Promise<never> {
  return Promise.reject(new Error('not scripted'));
}
