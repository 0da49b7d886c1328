import { Child } from './child.ts';
import type { Arrivals, Holding } from './crowd-load-process.ts';
import type { Said } from './crowd-process.ts';
import { duel } from './duel.ts';
import {
  BARE_UNDICI,
  type BenchResult,
  type Goal,
  median,
  printTable,
  ROUNDS,
  row,
  withProcesses,
} from './harness.ts';

const CROWD = new URL('./crowd-process.ts', import.meta.url);
const CROWD_LOAD = new URL('./crowd-load-process.ts', import.meta.url);
/** Held polls, of which one in a hundred is a device that peeks. */
const SIZES = [100, 1_000, 9_000];
const PEEKERS_OF = 100;
/** All of these peek into one room. */
const MANY_PEEKERS = 1_000;
const MIB = 1024 * 1024;

/**
 * Many held polls at once, of which one in a hundred is of a device that peeks: what the others' throughput is
 * meanwhile and what memory all of it takes, against the least that forwards with undici and holds as many; and how
 * long an event takes to the last device. Each held poll is two sockets.
 */
export async function run(): Promise<BenchResult> {
  const ratios: Record<string, number> = {};
  const goals: Record<string, Goal> = {};
  for (const size of SIZES) {
    const { throughput, rss, last } = await crowd(size, Math.max(1, size / PEEKERS_OF));
    ratios[`throughput_at_${size}`] = throughput;
    ratios[`rss_vs_bare_undici_at_${size}`] = rss;
    ratios[`last_of_1_percent_ms_at_${size}`] = last;
    goals[`throughput, ${size} held`] = { ratio: `throughput_at_${size}`, min: 0.9 };
  }
  ratios[`last_of_${MANY_PEEKERS}_ms`] = await fanOut();
  const largest = SIZES.at(-1);
  goals[`memory, ${largest} held`] = { ratio: `rss_vs_bare_undici_at_${largest}`, max: 1.4 };
  goals[`an event to ${MANY_PEEKERS} devices`] = { ratio: `last_of_${MANY_PEEKERS}_ms`, max: 250 };
  return { bench: 'crowd', ratios, goals };
}

async function crowd(size: number, peekers: number) {
  return withProcesses(async ({ load, start }) => {
    const [ours, bare] = [await start(CROWD), await start(BARE_UNDICI)];
    const [ourHolder, bareHolder] = [await Child.start(CROWD_LOAD), await Child.start(CROWD_LOAD)];
    try {
      await ours.ask({ peekers });
      await ourHolder.ask({ port: ours.port, plain: size - peekers, peekers } satisfies Holding);
      await bareHolder.ask({ port: bare.port, plain: size, peekers: 0 } satisfies Holding);
      const lasts = await delays(ours, ourHolder);
      const memory = [(await ours.memory()).rss, (await bare.memory()).rss] as const;
      console.log(`### ${size} held polls, ${peekers} of them of devices that peek\n`);
      printTable('memory, latency', [
        row('ours, RSS in MiB', [memory[0] / MIB], 0),
        row('bare undici, RSS in MiB', [memory[1] / MIB], 0),
        row(`an event to the last of ${peekers}, ms`, lasts, 1),
      ]);
      const path = '/_matrix/client/v3/sync?since=s1&timeout=0';
      const { throughput } = await duel(load, path, { ours, 'bare undici': bare });
      return { throughput, rss: memory[0] / memory[1], last: median(lasts) };
    } finally {
      await Promise.all([ourHolder.stop(), bareHolder.stop()]);
    }
  });
}

/** An event to a thousand devices. */
async function fanOut(): Promise<number> {
  return withProcesses(async ({ start }) => {
    const ours = await start(CROWD);
    const holder = await Child.start(CROWD_LOAD);
    try {
      await ours.ask({ peekers: MANY_PEEKERS });
      await holder.ask({ port: ours.port, plain: 0, peekers: MANY_PEEKERS } satisfies Holding);
      const lasts = await delays(ours, holder);
      printTable(`one event to ${MANY_PEEKERS} devices that peek into its room`, [
        row('the last, ms', lasts, 1),
      ]);
      return median(lasts);
    } finally {
      await holder.stop();
    }
  });
}

/** From the moment an event is there until the last device has it, in ms, each round. */
async function delays(ours: Child, holder: Child): Promise<number[]> {
  const lasts: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const { at } = await ours.ask<Said>('say');
    const { last } = await holder.ask<Arrivals>('arrivals');
    // Code is loaded and compiled in the first round, which is not counted.
    if (round > 0) lasts.push(last - at);
    await holder.ask('again');
  }
  return lasts;
}
