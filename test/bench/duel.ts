import type { Child } from './child.ts';
import { median, printTable, ROUNDS, row } from './harness.ts';
import type { Load, Measured } from './load-process.ts';

/** Milliseconds of load per contestant and round. */
const THROUGHPUT_MS = 800;
const LATENCY_MS = 400;
const WARM_UP_MS = 1500;
const CONNECTIONS = 32;

export interface Duel {
  /** Requests per second of ours, divided by the rival's of the same round; the median. */
  readonly throughput: number;
  /** How much longer our median request takes than the rival's, in milliseconds; the median. */
  readonly p50Ms: number;
}

/**
 * Lets contestants answer the same load in turns and prints what came of it. Throughput over 32 connections,
 * latency over one. The first two named are compared: ours, then the rival.
 */
export async function duel(
  load: Child,
  path: string,
  contestants: Readonly<Record<string, Child>>,
): Promise<Duel> {
  const names = Object.keys(contestants);
  const perSecond = new Map<string, number[]>(names.map((name) => [name, []]));
  const p50 = new Map<string, number[]>(names.map((name) => [name, []]));
  const measure = (name: string, connections: number, durationMs: number) => {
    const question: Load = { port: (contestants[name] as Child).port, path, connections, durationMs };
    return load.ask<Measured>(question);
  };
  for (const name of names) await measure(name, CONNECTIONS, WARM_UP_MS);
  for (let round = 0; round < ROUNDS; round++) {
    const order = names.map((_, i) => names[(i + round) % names.length] as string);
    for (const name of order) {
      perSecond.get(name)?.push((await measure(name, CONNECTIONS, THROUGHPUT_MS)).perSecond);
      p50.get(name)?.push((await measure(name, 1, LATENCY_MS)).p50);
    }
  }
  const [ours = '', rival = ''] = names;
  const ratios = paired(perSecond, ours, rival, (a, b) => a / b);
  const differences = paired(p50, ours, rival, (a, b) => a - b);
  printTable('requests per second, 32 connections', [
    ...names.map((name) => row(name, perSecond.get(name) ?? [], 0)),
    row(`${ours} : ${rival}`, ratios, 3),
  ]);
  printTable('p50 in ms, 1 connection', [
    ...names.map((name) => row(name, p50.get(name) ?? [], 3)),
    row(`${ours} − ${rival}`, differences, 3),
  ]);
  return { throughput: median(ratios), p50Ms: median(differences) };
}

function paired(
  values: ReadonlyMap<string, number[]>,
  ours: string,
  rival: string,
  compare: (ours: number, rival: number) => number,
): number[] {
  const others = values.get(rival) ?? [];
  return (values.get(ours) ?? []).map((value, round) => compare(value, others[round] ?? Number.NaN));
}
