import { Child } from './child.ts';
import { type BenchResult, median, printTable, row } from './harness.ts';
import type { Relay, Relayed } from './lender-process.ts';
import type { Received } from './receiver-process.ts';

const RELAY = new URL('./lender-process.ts', import.meta.url);
const RECEIVER = new URL('./receiver-process.ts', import.meta.url);
const ROUNDS = 10;
const TRANSACTIONS = 20;

/**
 * Transactions of 50 events of a peeked server, one after the other, through the tap into a room's log, with all
 * checks on; against hashing and verifying the same events and nothing else, in one thread.
 */
export async function run(): Promise<BenchResult> {
  const relay = await Child.start(RELAY);
  const receiver = await Child.start(RECEIVER);
  try {
    const roomId = await relay.ask<string>('room');
    const before = await receiver.ask<Received>({ roomId, from: `localhost:${relay.port}` });
    const question: Relay = { port: receiver.port, transactions: TRANSACTIONS };
    const rounds: Relayed[] = [];
    // Code is loaded and compiled in the first round, which is not counted.
    const spent: Received[] = [before];
    for (let round = 0; round <= ROUNDS; round++) {
      rounds.push(await relay.ask<Relayed>(question));
      spent.push(await receiver.ask<Received>({ roomId }));
    }
    const sent = rounds.reduce((sum, { events }) => sum + events, 0);
    const taken = (spent.at(-1)?.held ?? 0) - before.held;
    if (taken !== sent) throw new Error(`${sent} events were sent, ${taken} are in the log`);
    const counted = rounds.slice(1);
    const cpu = counted.map((_, n) => (spent[n + 2]?.cpu ?? Number.NaN) - (spent[n + 1]?.cpu ?? Number.NaN));
    const cpuRatios = counted.map(({ aloneCpu }, n) => aloneCpu / (cpu[n] ?? Number.NaN));
    const perEvent = (ms: number, n: number) => (ms / (counted[n]?.events ?? 1)) * 1000;
    const perSecond = (figure: 'through' | 'alone') =>
      counted.map((relayed) => (relayed.events / relayed[figure]) * 1000);
    const ratios = counted.map(({ through, alone }) => alone / through);
    printTable(`events per second, ${TRANSACTIONS} transactions of 50`, [
      row('through the tap into the log', perSecond('through'), 0),
      row('hash and verify alone', perSecond('alone'), 0),
      row('through : alone', ratios, 3),
      row('through the tap, CPU µs an event', cpu.map(perEvent), 0),
      row('alone, CPU µs an event', counted.map(({ aloneCpu }) => aloneCpu).map(perEvent), 0),
      row('alone : through, CPU', cpuRatios, 3),
    ]);
    return {
      bench: 'ingest',
      ratios: { events_vs_verify_alone: median(ratios), cpu_vs_verify_alone: median(cpuRatios) },
      goals: { ingest: { ratio: 'events_vs_verify_alone', min: 0.6 } },
    };
  } finally {
    await Promise.all([relay.stop(), receiver.stop()]);
  }
}
