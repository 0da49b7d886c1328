import { StoreDownError } from '../../../src/store/store.ts';
import type { Chance } from './chance.ts';
import type { SimDevice } from './sim-device.ts';
import type { SimHomeserver } from './sim-homeserver.ts';
import type { SimProxy } from './sim-proxy.ts';
import { World, type WorldOptions } from './world.ts';

export interface KillPointsOptions extends WorldOptions {
  /** How many proxies are killed, homeservers stopped, and so on. */
  readonly points: number;
  /** A further kind of fault, e.g. a restart of Redis; counts as one point. */
  readonly otherFault?: () => Promise<void>;
}

export interface KillPointsResult {
  readonly seed: number;
  /** By kind of fault. */
  readonly points: ReadonlyMap<string, number>;
  /** In the rooms. */
  readonly events: number;
  /** That reached the devices. */
  readonly seen: number;
  /** How often a device was told that events are missing (`limited`). */
  readonly gaps: number;
  readonly violations: readonly string[];
}

const MINUTE = 60_000;
/** Longer than any of the proxies is down, or backs off after it. */
const RECOVERED_WITHIN_MS = 60 * MINUTE;
const EMPTY_WITHIN_MS = 5 * MINUTE;
const RENEWAL_MS = 61 * MINUTE;

/**
 * One world, in which things are said, peeked, read, and killed at random. Whatever is killed comes back. At
 * the end every follower must have every event, and when all peeks have ended the stores must be empty.
 */
export async function killPoints(options: KillPointsOptions): Promise<KillPointsResult> {
  const world = new World(options);
  const { stage, proxies, violations } = world;
  const points = new Map<string, number>();
  let count = 0;
  const point = (kind: string) => {
    count++;
    points.set(kind, (points.get(kind) ?? 0) + 1);
  };
  const restarts = new Restarts(world, point);
  const mischief = new Mischief(world, point, options.otherFault ?? null);
  try {
    await world.start();
    let over = false;
    const living = world.devices.map((device) => device.live(() => over));
    const talking = talk(world, () => over);
    const faults = mischief.run(() => count >= options.points);
    await world.until(() => count >= options.points || violations.length > 0, 24 * 60 * MINUTE);
    over = true;
    await settleAll(world, [...living, talking, faults]);
    await mischief.calm();
    restarts.calm();
    if (violations.length === 0) await endAll(world);
  } finally {
    await world.remove();
  }
  const events = world.rooms.reduce((sum, room) => sum + room.events.length, 0);
  const expected = world.devices.flatMap((device) => [...device.rooms.values()]);
  const seen = expected.reduce((sum, room) => sum + room.seen, 0);
  const gaps = expected.reduce((sum, room) => sum + room.gaps, 0);
  return { seed: stage.seed, points, events, seen, gaps, violations: [...violations] };

  async function endAll(ended: World): Promise<void> {
    await ended.until(() => proxies.every((proxy) => proxy.isUp), 20 * MINUTE);
    for (const room of ended.rooms) ended.say(room, 1);
    const followed = () => ended.devices.flatMap((device) => peeked(device));
    const complete = async () => {
      await Promise.all(ended.devices.map((device) => drive(ended, device.sync(0, false))));
      return followed().every(({ isComplete }) => isComplete);
    };
    if (!(await ended.until(complete, RECOVERED_WITHIN_MS))) {
      const lacking = followed().filter(({ isComplete }) => !isComplete);
      violations.push(
        ...lacking.map(
          ({ room, at }) => `lost: ${room.roomId} has ${room.events.length} events, seen up to ${at}`,
        ),
      );
    }
    if (violations.length > 0) return;
    for (const device of ended.devices) {
      for (const roomId of device.rooms.keys()) {
        await ended.until(() => drive(ended, device.unpeek(roomId)), MINUTE);
      }
    }
    const empty = async () => {
      await Promise.all(ended.devices.map((device) => drive(ended, device.sync(0, false))));
      const sizes = await Promise.all(proxies.map((proxy) => sizeOf(proxy)));
      return sizes.every((size) => size === 0);
    };
    if (await ended.until(empty, EMPTY_WITHIN_MS)) return;
    // Peeks whose other end knows nothing of them are evicted when nobody has renewed them.
    stage.clock.jump(RENEWAL_MS);
    if (!(await ended.until(empty, EMPTY_WITHIN_MS))) {
      for (const proxy of proxies) violations.push(`${proxy.name} is not empty: ${await contents(proxy)}`);
    }
  }
}

/** Null where its store does not answer: a Redis that was started again is found in real time, not in passed-in time. */
async function sizeOf({ store }: SimProxy): Promise<number | null> {
  try {
    return await store.size();
  } catch (error) {
    if (error instanceof StoreDownError) return null;
    throw error;
  }
}

function peeked(device: SimDevice) {
  return [...device.rooms.values()].filter(({ at }) => at !== null);
}

/** Lets time pass until this is done. */
async function drive<T>(world: World, work: Promise<T>): Promise<T> {
  let done = false;
  const noted = work.finally(() => {
    done = true;
  });
  while (!done) await world.stage.clock.advance(100);
  return noted;
}

async function settleAll(world: World, work: readonly Promise<void>[]): Promise<void> {
  await drive(world, Promise.all(work));
}

async function talk(world: World, over: () => boolean): Promise<void> {
  const { clock } = world.stage;
  const chance = world.stage.chance();
  const [resident] = world.homeservers;
  while (!over()) {
    if (resident.isUp) world.say(chance.of(world.rooms), chance.percent(10) ? chance.between(5, 40) : 1);
    await clock.sleep(chance.between(10, 3_000));
  }
}

/** Whatever was killed is started again after a while: mostly soon, at times after minutes. */
class Restarts {
  readonly #world: World;
  readonly #chance: Chance;
  #calm = false;

  constructor(world: World, point: (kind: string) => void) {
    this.#world = world;
    this.#chance = world.stage.chance();
    world.whenKilled((proxy) => {
      point(`SIGKILL of ${proxy.name}`);
      void this.#again(proxy);
    });
  }

  calm(): void {
    this.#calm = true;
  }

  async #again(proxy: SimProxy): Promise<void> {
    const { clock } = this.#world.stage;
    const chance = this.#chance;
    await this.#world.storeOf(proxy).crashed();
    await clock.sleep(this.#calm ? 0 : downFor(this.#chance));
    const started = proxy.start();
    if (!this.#calm && chance.percent(20)) proxy.dieIn(chance.between(1, 40));
    await started;
  }
}

function downFor(chance: Chance): number {
  const dice = chance.between(1, 100);
  if (dice <= 60) return chance.between(0, 2_000);
  return dice <= 95 ? chance.between(2_000, 30_000) : chance.between(30_000, 8 * MINUTE);
}

/** What goes wrong by itself. */
class Mischief {
  readonly #world: World;
  readonly #point: (kind: string) => void;
  readonly #otherFault: (() => Promise<void>) | null;
  readonly #chance: Chance;
  #cutUntil = 0;

  constructor(world: World, point: (kind: string) => void, otherFault: (() => Promise<void>) | null) {
    this.#world = world;
    this.#point = point;
    this.#otherFault = otherFault;
    const { clock } = world.stage;
    const chance = world.stage.chance();
    this.#chance = chance;
    world.net.weather = (from, to) => {
      const betweenServers = from.includes('.') && to.includes('.');
      if (!betweenServers) return 'fair';
      if (clock.now() < this.#cutUntil) return chance.percent(50) ? 'no-connection' : 'answer-lost';
      return 'fair';
    };
  }

  async run(enough: () => boolean): Promise<void> {
    const { stage, proxies, homeservers } = this.#world;
    const { clock } = stage;
    const chance = this.#chance;
    while (!enough()) {
      await clock.sleep(chance.between(100, 8_000));
      const dice = chance.between(1, 100);
      if (dice <= 70) {
        const proxy = chance.of(proxies);
        if (proxy.isUp) proxy.dieIn(chance.percent(50) ? chance.between(1, 30) : chance.between(1, 400));
      } else if (dice <= 85) void this.#stop(chance.of(homeservers));
      else if (dice <= 95 || this.#otherFault === null) {
        this.#cutUntil = clock.now() + chance.between(100, 20_000);
        this.#point('connections cut');
      } else {
        this.#point('restart of the store');
        await this.#otherFault();
      }
    }
  }

  async calm(): Promise<void> {
    this.#cutUntil = 0;
    this.#world.net.weather = () => 'fair';
    for (const homeserver of this.#world.homeservers) homeserver.startAgain();
  }

  async #stop(homeserver: SimHomeserver): Promise<void> {
    if (!homeserver.isUp) return;
    this.#point(`stop of the homeserver ${homeserver.serverName}`);
    homeserver.stopNow();
    await this.#world.stage.clock.sleep(downFor(this.#chance) / 4);
    homeserver.startAgain();
  }
}

/** What a store still holds. */
async function contents({ store }: SimProxy): Promise<string> {
  const owed = await Promise.all(
    (await store.inboundPeeks.servers()).map((server) => store.inboundPeeks.toAnnounce(server)),
  );
  return JSON.stringify({
    records: await store.size(),
    owed: owed.flat(),
    logs: (await store.logs.all()).map(({ roomId, feed, closed }) => ({ roomId, feed, closed })),
    devices: await store.devicePeeks.all(),
    inbound: await store.inboundPeeks.all(),
    cursors: await store.inboundPeeks.cursors(),
    outbound: await store.outboundPeeks.all(),
  });
}
