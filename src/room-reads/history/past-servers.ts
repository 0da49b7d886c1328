import { isObject, type Json, type JsonObject } from '../../matrix/json.ts';
import { Gate } from '../../platform/gate.ts';
import type { RemoteServers } from '../../remote-servers/remote-servers.ts';
import type { MemberServers } from '../../rooms/member-servers.ts';
import type { Store } from '../../store/store.ts';

/** Servers asked for one thing. */
const MOST_SERVERS = 4;
/** Events asked for at once: the largest that there are take as long as a reader waits. */
const BACKFILLED = 50;
/** Some servers give more than they were asked for. */
const MOST_TAKEN = 100;
const BACKFILL_BYTES = BACKFILLED * 65_536 * 2;
const EVENT_BYTES = 2 * 65_536;
/** The IDs of the state of the largest public rooms, twice: state and auth chain. */
const STATE_IDS_BYTES = 32 * 1024 * 1024;
const SMALL_BYTES = 16 * 1024;
const ANSWER_MS = 5_000;

/** Requests for the past of rooms, in all and to one server: a slow server delays its own rooms alone. */
const AT_ONCE = 32;
const WAITING = 500;
const OF_ONE_SERVER = { running: 4, waiting: 100 };

/** What servers tell of a room's past. All requests reject as `RemoteServers` does, or with a gate's errors. */
export class PastServers {
  readonly #store: Store;
  readonly #remote: RemoteServers;
  readonly #memberServers: Pick<MemberServers, 'of'>;
  readonly #serverName: string;
  readonly #gate = new Gate(AT_ONCE, WAITING, OF_ONE_SERVER);

  constructor(deps: {
    readonly store: Store;
    readonly remote: RemoteServers;
    readonly memberServers: Pick<MemberServers, 'of'>;
    readonly serverName: string;
  }) {
    this.#store = deps.store;
    this.#remote = deps.remote;
    this.#memberServers = deps.memberServers;
    this.#serverName = deps.serverName;
  }

  /** Whom to ask about a room: those it is peeked through, then those of its members, most members first. */
  async of(roomId: string): Promise<string[]> {
    const peeks = await this.#store.outboundPeeks.ofRoom(roomId);
    const live = peeks.filter(({ phase }) => phase === 'live').map(({ server }) => server);
    const members = await this.#memberServers.of(roomId, MOST_SERVERS + live.length);
    const candidates = peeks.flatMap((peek) => peek.candidates);
    const servers = new Set([...live, ...members, ...candidates]);
    servers.delete(this.#serverName);
    return [...servers].slice(0, MOST_SERVERS);
  }

  /** `work` in its turn among what is asked of this server. */
  inTurn<T>(server: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#gate.run(work, signal, server);
  }

  /** These events and those before them. */
  async backfill(
    server: string,
    roomId: string,
    eventIds: readonly string[],
    signal: AbortSignal,
  ): Promise<Json[]> {
    const from = eventIds.map((id) => `v=${encodeURIComponent(id)}`).join('&');
    const path = `backfill/${encodeURIComponent(roomId)}?${from}&limit=${BACKFILLED}`;
    const { pdus } = await this.#get(server, path, BACKFILL_BYTES, signal);
    return Array.isArray(pdus) ? pdus.slice(0, MOST_TAKEN) : [];
  }

  async event(server: string, eventId: string, signal: AbortSignal): Promise<JsonObject | null> {
    const { pdus } = await this.#get(server, `event/${encodeURIComponent(eventId)}`, EVENT_BYTES, signal);
    const event = Array.isArray(pdus) ? pdus[0] : null;
    return isObject(event) ? event : null;
  }

  /** The IDs of the state before an event. */
  async stateIds(server: string, roomId: string, eventId: string, signal: AbortSignal): Promise<Set<Json>> {
    const path = `state_ids/${encodeURIComponent(roomId)}?event_id=${encodeURIComponent(eventId)}`;
    const { pdu_ids: ids } = await this.#get(server, path, STATE_IDS_BYTES, signal);
    return new Set(Array.isArray(ids) ? ids : []);
  }

  /** The event that the server finds closest to a time (ms), before it (`b`) or after it (`f`). */
  async eventAt(
    server: string,
    roomId: string,
    ts: number,
    dir: 'b' | 'f',
    signal: AbortSignal,
  ): Promise<string | null> {
    const path = `timestamp_to_event/${encodeURIComponent(roomId)}?ts=${ts}&dir=${dir}`;
    const { event_id: id } = await this.#get(server, path, SMALL_BYTES, signal);
    return typeof id === 'string' ? id : null;
  }

  #get(server: string, path: string, maxBytes: number, signal: AbortSignal): Promise<JsonObject> {
    return this.#remote.request(server, {
      method: 'GET',
      path: `/_matrix/federation/v1/${path}`,
      timeoutMs: ANSWER_MS,
      maxBytes,
      signal,
    });
  }
}
