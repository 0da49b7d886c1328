import type { BuiltEvent } from '../room-builder.ts';
import { RoomBuilder } from '../room-builder.ts';
import type { Chance } from './chance.ts';
import { MemoryNet } from './memory-net.ts';
import { SimDevice } from './sim-device.ts';
import { SimHomeserver } from './sim-homeserver.ts';
import { SimProxy } from './sim-proxy.ts';
import type { SimStore } from './sim-store.ts';
import { Stage } from './stage.ts';

/** The server whose rooms are peeked, and the one whose users peek. */
export const RESIDENT = 'resident.test';
export const PEEKING = 'peeking.test';
/** A third server with members in the rooms. */
const MEMBER = '@member:third.test';
const VERSIONS = ['6', '10', '11', '12'];

export interface WorldOptions {
  readonly seed: number;
  /** Opens the store of one of the two proxies. */
  readonly store: (server: string) => SimStore;
  readonly rooms?: number;
  readonly logLevel?: string;
  /** Default: 15 s, as the command has it. */
  readonly sweepMs?: number;
}

const CONNECTED_WITHIN_MS = 20_000;

/** Two homeservers with a proxy before each, rooms of the first, and devices of both that peek into them. */
export class World {
  readonly stage: Stage;
  readonly net: MemoryNet;
  readonly rooms: RoomBuilder[];
  readonly homeservers: readonly [resident: SimHomeserver, peeking: SimHomeserver];
  readonly proxies: readonly SimProxy[];
  readonly devices: readonly SimDevice[];
  /** What must not have happened. */
  readonly violations: string[] = [];
  readonly #chance: Chance;
  readonly #stores: SimStore[];
  #killed: (proxy: SimProxy) => void = () => {};

  constructor({ seed, store, rooms = 2, logLevel = 'silent', sweepMs = 15_000 }: WorldOptions) {
    const stage = new Stage(seed);
    this.stage = stage;
    this.net = new MemoryNet(stage);
    const { clock } = stage;
    this.#chance = stage.chance();
    this.rooms = Array.from({ length: rooms }, (_, i) => {
      const room = new RoomBuilder(this.#chance.of(VERSIONS), RESIDENT, `room${i}`);
      room.member(MEMBER, 'join');
      return room;
    });
    const resident = new SimHomeserver(RESIDENT, clock);
    const peeking = new SimHomeserver(PEEKING, clock);
    for (const room of this.rooms) resident.add(room);
    this.homeservers = [resident, peeking];
    this.#stores = [];
    this.proxies = this.homeservers.map((homeserver) => {
      const held = store(homeserver.serverName);
      this.#stores.push(held);
      const proxy: SimProxy = new SimProxy({
        ...{ stage, net: this.net, homeserver, store: held, logLevel, sweepMs },
        killed: () => this.#killed(proxy),
      });
      return proxy;
    });
    stage.storeOwes = () => this.proxies.reduce((sum, proxy) => sum + proxy.storeOwes, 0);
    this.devices = [
      this.#device('anna', resident, null),
      this.#device('ben', peeking, RESIDENT),
      this.#device('cleo', peeking, RESIDENT),
    ];
  }

  whenKilled(listener: (proxy: SimProxy) => void): void {
    this.#killed = listener;
  }

  async start(): Promise<void> {
    for (const proxy of this.proxies) void proxy.start();
    // A Redis is connected to in real time, and no passed-in time may run out meanwhile.
    for (const end = performance.now() + CONNECTED_WITHIN_MS; performance.now() < end; ) {
      if (this.proxies.every(({ isUp }) => isUp)) break;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await this.stage.clock.advance(5_000);
  }

  /** So many events in a room, of users of both servers that are in it; the homeserver tells them at once. */
  say(room: RoomBuilder, count: number): BuiltEvent[] {
    const chance = this.#chance;
    const said = Array.from({ length: count }, (_, i) => {
      const dice = chance.between(1, 10);
      if (dice === 1) return room.state('m.room.topic', '', { topic: `topic ${room.events.length}` });
      if (dice === 2) return room.member(MEMBER, 'join', { displayname: `name ${room.events.length}` });
      return room.message(`message ${i}`, chance.percent(50) ? MEMBER : room.creator);
    });
    this.homeservers[0].wake();
    return said;
  }

  /** Time goes on until `done`, or for at most so long. False when it took longer. */
  async until(done: () => boolean | Promise<boolean>, mostMs: number): Promise<boolean> {
    const { clock } = this.stage;
    for (const end = clock.now() + mostMs; clock.now() < end; ) {
      if (await done()) return true;
      await clock.advance(1_000);
    }
    return done();
  }

  async remove(): Promise<void> {
    for (const proxy of this.proxies) await proxy.stop();
    for (const store of this.#stores) await store.remove();
  }

  storeOf(proxy: SimProxy): SimStore {
    return this.#stores[this.proxies.indexOf(proxy)] as SimStore;
  }

  #device(name: string, homeserver: SimHomeserver, via: string | null): SimDevice {
    const userId = `@${name}:${homeserver.serverName}`;
    homeserver.identities.set(`Bearer ${name}`, { userId, deviceId: name.toUpperCase(), isGuest: false });
    const { stage, net, rooms } = this;
    const violated = (what: string) =>
      this.violations.push(`${name} at ${new Date(stage.clock.now()).toISOString()}: ${what}`);
    return new SimDevice({ stage, net, server: homeserver.serverName, token: name, rooms, via, violated });
  }
}
