import { Child } from './child.ts';

export interface Goal {
  /** The key in `ratios` that this goal is about. */
  readonly ratio: string;
  readonly min?: number;
  readonly max?: number;
}

/** What a benchmark has to say; differences carry their unit in the key (`…_ms`, `…_kib`). */
export interface BenchResult {
  readonly bench: string;
  readonly ratios: Readonly<Record<string, number>>;
  readonly goals: Readonly<Record<string, Goal>>;
}

/** The rivals take turns this often, so that a machine that slows down does so for all of them. */
export const ROUNDS = 10;

export const PROXY = new URL('./proxy-process.ts', import.meta.url);
export const BARE_UNDICI = new URL('./rivals/undici-process.ts', import.meta.url);
export const BARE_MIDDLEWARE = new URL('./rivals/http-proxy-middleware-process.ts', import.meta.url);
const UPSTREAM = new URL('./upstream-process.ts', import.meta.url);
const LOAD = new URL('./load-process.ts', import.meta.url);

/** Starts the processes that every benchmark has, and ends all that were started. */
export async function withProcesses<Result>(
  body: (processes: {
    upstream: Child;
    load: Child;
    start: (script: URL) => Promise<Child>;
  }) => Promise<Result>,
): Promise<Result> {
  const started: Child[] = [];
  const keep = async (child: Promise<Child>): Promise<Child> => {
    started.push(await child);
    return child;
  };
  try {
    const upstream = await keep(Child.start(UPSTREAM));
    const load = await keep(Child.start(LOAD));
    const start = (script: URL) => keep(Child.start(script, [`http://127.0.0.1:${upstream.port}`]));
    return await body({ upstream, load, start });
  } finally {
    await Promise.all(started.map((child) => child.stop()));
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** One row of a table: the median of the rounds, and from where to where they went. */
export function row(name: string, values: readonly number[], digits: number): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `| ${name} | ${median(values).toFixed(digits)} | ${low.toFixed(digits)} – ${high.toFixed(digits)} |`;
}

/** Prints a Markdown table of medians and spreads. */
export function printTable(title: string, rows: readonly string[]): void {
  console.log([`| ${title} | median | spread |`, '|---|---:|---:|', ...rows, ''].join('\n'));
}

/** Whether a goal holds; a number that could not be measured meets none. */
export function holds(goal: Goal, ratios: BenchResult['ratios']): boolean {
  const value = ratios[goal.ratio] ?? Number.NaN;
  return value >= (goal.min ?? -Infinity) && value <= (goal.max ?? Infinity);
}
