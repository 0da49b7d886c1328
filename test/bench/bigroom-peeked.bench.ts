import { Client } from 'undici';
import { Child } from './child.ts';
import { type BenchResult, median, printTable, row } from './harness.ts';
import type { Spent } from './peeked-process.ts';

const UPSTREAM = new URL('./room-upstream-process.ts', import.meta.url);
const PEEKED = new URL('./peeked-process.ts', import.meta.url);
const ROUNDS = 5;
/** As many as ask for the room one after the other, once it was read for the first of them. */
const LATER = 10;

/**
 * The peeked side of a room of 28 000 state events: what the first server that peeks it costs us, what each further
 * one does, and for how long the event loop stands still at most. A scripted homeserver; a fresh room each round.
 */
export async function run(): Promise<BenchResult> {
  const upstream = await Child.start(UPSTREAM);
  const ours = await Child.start(PEEKED, [`http://127.0.0.1:${upstream.port}`]);
  const client = new Client(`http://127.0.0.1:${ours.port}`);
  try {
    const peek = async (room: number, server: string): Promise<Spent & { wall: number; bytes: number }> => {
      await ours.ask<Spent>('spent');
      const began = performance.now();
      const { statusCode, body } = await client.request({
        method: 'PUT',
        path: `/_matrix/federation/v1/peek/!room${room}:bench.test/p?ver=11`,
        headers: { authorization: server, 'content-type': 'application/json' },
        body: '{}',
      });
      let bytes = 0;
      for await (const chunk of body as AsyncIterable<Buffer>) bytes += chunk.length;
      const wall = performance.now() - began;
      if (statusCode !== 200) throw new Error(`PUT answered ${statusCode}`);
      return { ...(await ours.ask<Spent>('spent')), wall, bytes };
    };
    const first = { cpu: [] as number[], wall: [] as number[] };
    const later = { cpu: [] as number[], wall: [] as number[] };
    const stalls: number[] = [];
    const work: number[] = [];
    let bytes = 0;
    // Code is loaded and compiled in the first round, which is not counted.
    for (let round = 0; round <= ROUNDS; round++) {
      const one = await peek(round, 'first.test');
      const more: Awaited<ReturnType<typeof peek>>[] = [];
      for (let n = 0; n < LATER; n++) more.push(await peek(round, `s${n}.test`));
      if (round === 0) continue;
      bytes = one.bytes;
      first.cpu.push(one.cpu);
      first.wall.push(one.wall);
      later.cpu.push(median(more.map(({ cpu }) => cpu)));
      later.wall.push(median(more.map(({ wall }) => wall)));
      stalls.push(Math.max(one.stall, ...more.map(({ stall }) => stall)));
      work.push(Math.max(one.work, ...more.map((each) => each.work)));
    }
    const ratios = later.cpu.map((cpu, round) => cpu / (first.cpu[round] ?? Number.NaN));
    const wallRatios = later.wall.map((wall, round) => wall / (first.wall[round] ?? Number.NaN));
    printTable(`PUT /peek, 28 000 state events, ${(bytes / 1024 / 1024).toFixed(1)} MiB`, [
      row('first server, CPU ms', first.cpu, 1),
      row('each further server, CPU ms', later.cpu, 1),
      row('further : first, CPU', ratios, 4),
      row('first server, wall ms', first.wall, 1),
      row('each further server, wall ms', later.wall, 1),
      row('further : first, wall', wallRatios, 4),
      row('longest stall of the event loop, ms', stalls, 1),
      row('most computed in one go, CPU ms', work, 1),
    ]);
    return {
      bench: 'bigroom-peeked',
      ratios: {
        further_vs_first_cpu: median(ratios),
        further_vs_first_wall: median(wallRatios),
        longest_work_ms: Math.max(...work),
        longest_stall_ms: Math.max(...stalls),
      },
      goals: {
        'a further server': { ratio: 'further_vs_first_cpu', max: 0.05 },
        stall: { ratio: 'longest_work_ms', max: 50 },
      },
    };
  } finally {
    await client.close();
    await Promise.all([ours.stop(), upstream.stop()]);
  }
}
