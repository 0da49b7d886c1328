import { CandidateRace, type RaceResult, type RaceTimes } from './candidate-race.ts';

/**
 * Tries servers in their order, for one caller: the next one when one has failed, or beside it when it is slow. The
 * first whose attempt succeeds wins. Never rejects.
 */
export function firstAcceptable<T>(
  servers: readonly string[],
  attempt: (server: string, signal: AbortSignal) => Promise<T>,
  times: RaceTimes,
): Promise<RaceResult<T>> {
  const race = new CandidateRace<T>(times);
  void race.join({ owner: '', servers, until: times.clock.now() + times.withinMs });
  return race.run(attempt);
}
