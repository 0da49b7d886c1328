import { type KillPointsOptions, killPoints } from './kill-points.ts';

export interface ManyWorlds {
  /** By kind of fault. */
  readonly points: Map<string, number>;
  readonly worlds: number;
  readonly events: number;
  readonly seen: number;
  readonly gaps: number;
  /** Each with the seed that repeats it. */
  readonly violations: string[];
}

/** How many faults one world sees: a fresh one is another story, and a short story is easier to read. */
export const POINTS_PER_WORLD = 20;

/** World after world, with seeds that follow each other, until so many points have been passed or one failed. */
export async function manyWorlds(
  options: Omit<KillPointsOptions, 'points'> & { readonly total: number },
  progress: (passed: ManyWorlds) => void = () => {},
): Promise<ManyWorlds> {
  const points = new Map<string, number>();
  const violations: string[] = [];
  let passed: ManyWorlds = { points, worlds: 0, events: 0, seen: 0, gaps: 0, violations };
  let count = 0;
  while (count < options.total && violations.length === 0) {
    const seed = options.seed + passed.worlds;
    const world = await killPoints({
      ...options,
      seed,
      points: Math.min(POINTS_PER_WORLD, options.total - count),
    });
    for (const [kind, times] of world.points) {
      points.set(kind, (points.get(kind) ?? 0) + times);
      count += times;
    }
    violations.push(...world.violations.map((what) => `seed ${seed}: ${what}`));
    passed = {
      ...passed,
      worlds: passed.worlds + 1,
      events: passed.events + world.events,
      seen: passed.seen + world.seen,
      gaps: passed.gaps + world.gaps,
    };
    progress(passed);
  }
  return passed;
}
