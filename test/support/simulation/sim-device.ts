import type { JsonObject } from '../../../src/matrix/json.ts';
import type { RoomBuilder } from '../room-builder.ts';
import type { Chance } from './chance.ts';
import { Expectation } from './expectation.ts';
import type { Answer, MemoryNet } from './memory-net.ts';
import type { Stage } from './stage.ts';

/** Everything that comes in one answer is wanted: a section that is cut is a gap. */
const FILTER = JSON.stringify({ room: { timeline: { limit: 1000 } } });

export interface SimDeviceOptions {
  readonly stage: Stage;
  readonly net: MemoryNet;
  /** The server whose user it is. */
  readonly server: string;
  /** Its access token. */
  readonly token: string;
  readonly rooms: readonly RoomBuilder[];
  /** Through whom it peeks; null: the rooms are of its own server. */
  readonly via: string | null;
  readonly violated: (what: string) => void;
}

/** A device that peeks and syncs, loses answers, asks again, and says what it saw that should not be. */
export class SimDevice {
  readonly rooms: ReadonlyMap<string, Expectation>;
  readonly #options: SimDeviceOptions;
  readonly #chance: Chance;
  #since: string | null = null;

  constructor(options: SimDeviceOptions) {
    this.#options = options;
    this.#chance = options.stage.chance();
    this.rooms = new Map(options.rooms.map((room) => [room.roomId, new Expectation(room)]));
  }

  /** Does one thing after the other, at random. */
  async live(over: () => boolean): Promise<void> {
    while (!over()) {
      await this.#doSomething();
      await this.#options.stage.clock.sleep(this.#chance.between(50, 4_000));
    }
  }

  async #doSomething(): Promise<void> {
    const chance = this.#chance;
    const dice = chance.between(1, 100);
    if (dice <= 4) await this.unpeek(chance.of([...this.rooms.keys()]));
    else if (dice <= 20) await this.peekSomething();
    else if (dice <= 70) await this.sync(0);
    else if (dice <= 90) await this.sync(chance.between(1, 30_000));
    else await Promise.all([this.sync(0, true), this.sync(0)]);
  }

  async peekSomething(): Promise<void> {
    const absent = [...this.rooms.values()].filter(({ at }) => at === null);
    if (absent.length > 0) await this.peek(this.#chance.of(absent).room.roomId);
  }

  async peek(roomId: string): Promise<boolean> {
    const expected = this.#expected(roomId);
    expected.mayBegin = true;
    const via = this.#options.via === null ? '' : `?server_name=${this.#options.via}`;
    const answer = await this.#ask('POST', `/_matrix/client/v3/peek/${encodeURIComponent(roomId)}${via}`);
    return answer?.status === 200;
  }

  /** Whether the peek is over for certain. */
  async unpeek(roomId: string): Promise<boolean> {
    this.#expected(roomId).mayEnd = true;
    const answer = await this.#ask('POST', `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/unpeek`);
    return answer?.status === 200 || answer?.status === 400 || answer?.status === 404;
  }

  /** `lost`: whatever the answer is, it does not reach the device. */
  async sync(timeoutMs: number, lost = this.#chance.percent(20)): Promise<boolean> {
    const since = this.#since;
    const query = new URLSearchParams({ timeout: String(timeoutMs), filter: FILTER });
    if (since !== null) query.set('since', since);
    const answer = await this.#ask('GET', `/_matrix/client/v3/sync?${query}`);
    if (lost || answer?.status !== 200 || this.#since !== since) return false;
    const body = JSON.parse(answer.body.toString()) as SyncBody;
    this.#take(body);
    this.#since = body.next_batch;
    return true;
  }

  #take({ rooms }: SyncBody): void {
    for (const [part, ended] of [
      ['leave', true],
      ['peek', false],
    ] as const) {
      for (const [roomId, section] of Object.entries(rooms?.[part] ?? {})) {
        try {
          if (!ended && rooms?.leave?.[roomId] !== undefined) throw new Error('in peek and in leave');
          this.#expected(roomId).take(section, ended);
        } catch (error) {
          this.#options.violated(`${roomId}: ${error instanceof Error ? error.message : error}`);
        }
      }
    }
  }

  async #ask(method: string, path: string): Promise<Answer | null> {
    const { net, server, token } = this.#options;
    const headers = { authorization: `Bearer ${token}` };
    return net.exchange(token, server, { method, path, headers }).catch(() => null);
  }

  #expected(roomId: string): Expectation {
    const expected = this.rooms.get(roomId);
    if (expected === undefined) throw new Error(`nobody peeks ${roomId}`);
    return expected;
  }
}

interface SyncBody {
  readonly next_batch: string;
  readonly rooms?: {
    readonly peek?: Record<string, JsonObject>;
    readonly leave?: Record<string, JsonObject>;
  };
}
