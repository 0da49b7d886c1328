import { Child } from './child.ts';
import { type BenchResult, median, printTable, row } from './harness.ts';
import type { Peeked } from './peeker-process.ts';
import type { Alone } from './rivals/verify-process.ts';

const PEER = new URL('./room-peer-process.ts', import.meta.url);
const PEEKER = new URL('./peeker-process.ts', import.meta.url);
const VERIFY = new URL('./rivals/verify-process.ts', import.meta.url);
const ROUNDS = 3;
const MEMBERS = 27_900;

interface Lent {
  readonly roomId: string;
  readonly bytes: number;
  /** Where the answer lies, for the rival. */
  readonly file: string;
}

/**
 * A room of 28 000 state events that is peeked into for the first time, over TLS: until it can be read, until all of
 * it is verified against hashing and verifying alone on two threads, and how long the event loop stands still. A
 * fresh process, and with it an empty store, each round.
 */
export async function run(): Promise<BenchResult> {
  const peer = await Child.start(PEER, [String(MEMBERS)]);
  const peeks: Peeked[] = [];
  const rivals: Alone[] = [];
  try {
    const { roomId, bytes, file } = await peer.ask<Lent>('room');
    const server = `localhost:${peer.port}`;
    for (let round = 0; round < ROUNDS; round++) {
      peeks.push(await once<Peeked>(PEEKER, { roomId, server }));
      rivals.push(await once<Alone>(VERIFY, { file }));
    }
    const of = (figure: keyof Peeked) => peeks.map((peeked) => peeked[figure]);
    const alone = rivals.map(({ wall }) => wall);
    const cpuRatios = peeks.map(({ cpu }, round) => cpu / (rivals[round]?.cpu ?? Number.NaN));
    const ratios = of('whole').map((whole, round) => whole / (alone[round] ?? Number.NaN));
    const inSeconds = of('readable').map((ms) => ms / 1000);
    printTable(`first peek, ${of('events')[0]} state events, ${(bytes / 1024 / 1024).toFixed(1)} MiB`, [
      row('POST /peek answered, ms', of('answered'), 0),
      row('readable: first section, ms', of('readable'), 0),
      row('all verified and stored, ms', of('whole'), 0),
      row('hash and verify alone, two threads, ms', alone, 0),
      row('all : alone', ratios, 3),
      row('all : alone, CPU time', cpuRatios, 3),
      row('longest stall of the event loop, ms', of('stall'), 1),
      row('most computed in one go, CPU ms', of('work'), 1),
    ]);
    return {
      bench: 'bigroom',
      ratios: {
        readable_s: median(inSeconds),
        all_vs_verify_alone: median(ratios),
        all_vs_verify_alone_cpu: median(cpuRatios),
        longest_work_ms: Math.max(...of('work')),
        longest_stall_ms: Math.max(...of('stall')),
      },
      goals: {
        readable: { ratio: 'readable_s', max: 2 },
        verified: { ratio: 'all_vs_verify_alone', max: 1.5 },
        stall: { ratio: 'longest_work_ms', max: 50 },
      },
    };
  } finally {
    await peer.stop();
  }
}

/** One answer of a fresh process. */
async function once<Answer>(script: URL, question: object): Promise<Answer> {
  const child = await Child.start(script);
  try {
    return await child.ask<Answer>(question);
  } finally {
    await child.stop();
  }
}
