import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { register } from '../support/client.ts';
import { freePort } from '../support/ports.ts';
import { startSynapse } from '../support/synapse.ts';
import { Child } from './child.ts';
import { type BenchResult, median, printTable, row } from './harness.ts';
import type { RelayRun } from './relay-room.ts';

const SERVERS = new URL('./relay-servers-process.ts', import.meta.url);
const OURS = new URL('./relay-process.ts', import.meta.url);
const BARE = new URL('./rivals/relay-bare-process.ts', import.meta.url);
const COUNTS = [1, 10, 100] as const;
const ROUNDS = 5;
/** Events in a round of ours and of the bare loop, and in all for Synapse. */
const EVENTS = { 1: 120, 10: 40, 100: 10 } as const;
const SYNAPSE_EVENTS = { 0: 80, 1: 80, 10: 40, 100: 10 } as const;
const IDLE = 5000;
/** What Synapse spends in two seconds in which nothing is to be done, at most. */
const QUIET_MS = 100;
/** `/proc/PID/stat` counts in these. */
const TICK_MS = 10;

type Count = (typeof COUNTS)[number];

/**
 * Events × servers per second of CPU, each event sent 10 ms after the one before has arrived everywhere: our sender, the
 * bare loop of signature and `PUT`, and Synapse's own sender with as many servers joined to the room. Of each what it
 * spends with N servers less what it spends with none, which is to make and keep the event. And the memory of a server that peeks and is sent nothing.
 */
export async function run(): Promise<BenchResult> {
  const servers = await Child.start(SERVERS, [String(Math.max(...COUNTS))]);
  const [ours, bare] = [await Child.start(OURS), await Child.start(BARE)];
  try {
    const ports = await servers.ask<number[]>('ports');
    const contest = async (rival: Child, count: Count): Promise<number> => {
      const events = EVENTS[count];
      const none = await rival.ask<number>({ events, ports: [] } satisfies RelayRun);
      const spent = await rival.ask<number>({ events, ports: ports.slice(0, count) } satisfies RelayRun);
      return (events * count * 1000) / (spent - none);
    };
    const rates = new Map<string, number[]>();
    // Code is compiled for what runs often, as it is in a proxy that has been up for a while.
    for (let warm = 0; warm < 4; warm++) for (const rival of [ours, bare]) await contest(rival, 100);
    for (const count of COUNTS) {
      for (const rival of [ours, bare]) await contest(rival, count);
      const [mine, theirs]: [number[], number[]] = [[], []];
      for (let round = 0; round < ROUNDS; round++) {
        mine.push(await contest(ours, count));
        theirs.push(await contest(bare, count));
      }
      rates.set(`ours, ${count}`, mine);
      rates.set(`bare loop, ${count}`, theirs);
    }
    const idleKib = await idle(ours);
    printTable(
      'events × servers per CPU second',
      [...rates].map(([name, values]) => row(name, values, 0)),
    );
    const synapse = await synapseRates(servers, ports);
    printTable(
      "Synapse's own sender",
      [...synapse].map(([count, rate]) => row(String(count), [rate], 0)),
    );
    const vsBare = (count: Count) =>
      median(
        (rates.get(`ours, ${count}`) ?? []).map(
          (rate, i) => rate / (rates.get(`bare loop, ${count}`)?.[i] ?? 0),
        ),
      );
    const vsSynapse = (count: Count) =>
      median(rates.get(`ours, ${count}`) ?? []) / (synapse.get(count) ?? Number.NaN);
    const ratios: Record<string, number> = { idle_server_kib: idleKib };
    for (const count of COUNTS) {
      ratios[`vs_bare_${count}`] = vsBare(count);
      ratios[`vs_synapse_${count}`] = vsSynapse(count);
    }
    return {
      bench: 'relay',
      ratios,
      goals: {
        ...Object.fromEntries(
          COUNTS.flatMap((count) => [
            [`bare loop, ${count}`, { ratio: `vs_bare_${count}`, min: 0.7 }],
            [`Synapse, ${count}`, { ratio: `vs_synapse_${count}`, min: 10 }],
          ]),
        ),
        'an idle server': { ratio: 'idle_server_kib', max: 4 },
      },
    };
  } finally {
    await Promise.all([servers.stop(), ours.stop(), bare.stop()]);
  }
}

/** KiB for each server that peeks and is sent nothing. */
async function idle(ours: Child): Promise<number> {
  await ours.ask({ idle: 100 });
  const before = (await ours.memory()).heap;
  await ours.ask({ idle: IDLE });
  const after = (await ours.memory()).heap;
  const kib = (after - before) / (IDLE - 100) / 1024;
  printTable('KiB of living objects', [row(`for each idle server, ${IDLE} of them`, [kib], 2)]);
  return kib;
}

/** Synapse with its own limits out of the way. */
async function synapseRates(servers: Child, ports: readonly number[]): Promise<Map<Count, number>> {
  const dir = mkdtempSync(join(tmpdir(), 'peek-bench-'));
  const [port, httpPort] = [await freePort(), await freePort()];
  const synapse = await startSynapse({
    serverName: `localhost:${port}`,
    dir,
    httpPort,
    defaultRoomVersion: '11',
  });
  try {
    const alice = await register(synapse.url, 'alice');
    const say = async (roomId: string, count: number, events: number): Promise<number> => {
      const begin = await servers.ask<number>('received');
      const before = cpuOf(synapse.pid);
      for (let n = 1; n <= events; n++) {
        await alice.sendText(roomId, `message number ${n}`);
        while ((await servers.ask<number>('received')) < begin + n * count) {
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      }
      return cpuOf(synapse.pid) - before;
    };
    const quiet = await alice.createWorldReadableRoom();
    await say(quiet, 0, 50);
    const none = (await say(quiet, 0, SYNAPSE_EVENTS[0])) / SYNAPSE_EVENTS[0];
    const rates = new Map<Count, number>();
    for (const count of COUNTS) {
      const roomId = await alice.createWorldReadableRoom();
      const at = { join: roomId, at: synapse.url, as: synapse.serverName };
      await servers.ask({ ...at, ports: ports.slice(0, count) });
      await say(roomId, count, 5);
      await untilQuiet(synapse.pid);
      const spent = await say(roomId, count, SYNAPSE_EVENTS[count]);
      rates.set(count, (SYNAPSE_EVENTS[count] * count * 1000) / (spent - none * SYNAPSE_EVENTS[count]));
    }
    return rates;
  } finally {
    await synapse.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Each join was told to all who had joined before. */
async function untilQuiet(pid: number): Promise<void> {
  for (let before = cpuOf(pid); ; before = cpuOf(pid)) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    if (cpuOf(pid) - before < QUIET_MS) return;
  }
}

/** User and system time of a process, in ms. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
