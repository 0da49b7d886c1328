import { expect, test } from 'vitest';
import {
  type CallerEnd,
  CandidateRace,
  type RaceResult,
} from '../../../src/outbound-peeks/candidate-race.ts';
import { ManualClock } from '../../support/manual-clock.ts';

/** Servers named after what they do: `ok5` answers after five seconds, `no2` fails after two, `tarpit…` never ends. */
function raced() {
  const clock = new ManualClock(0);
  const started: string[] = [];
  const aborted: string[] = [];
  const ends = new Map<string, CallerEnd>();
  const race = new CandidateRace<string>({ clock, nextAfterMs: 3_000, withinMs: 45_000 });
  let result: RaceResult<string> | null = null;
  const attempt = async (server: string, signal: AbortSignal) => {
    started.push(`${server}@${clock.now() / 1000}`);
    signal.addEventListener('abort', () => aborted.push(server));
    await clock.sleep(server.startsWith('tarpit') ? 1e9 : Number(server.replace(/\D/g, '')) * 1000);
    if (server.startsWith('no')) throw new Error(server);
    return server;
  };
  const join = (owner: string, ...servers: string[]) =>
    void race.join({ owner, servers, until: clock.now() + 45_000 }).then((end) => ends.set(owner, end));
  const run = () =>
    void race.run(attempt).then((ended) => {
      result = ended;
    });
  const failed = (owner: string) => {
    const end = ends.get(owner);
    return end === undefined || end === 'again' ? end : end.map(({ server }) => server);
  };
  return {
    clock,
    race,
    started,
    aborted,
    join,
    run,
    failed,
    result: () => result as RaceResult<string> | null,
  };
}

test('the first of everybody is asked at once, and what several name is asked once', async () => {
  const { clock, started, join, run, result } = raced();
  join('a', 'tarpit1', 'tarpit2');
  run();
  await clock.advance(1_000);
  join('b', 'no1', 'ok5');
  join('c', 'tarpit1', 'no1', 'ok9');
  await clock.advance(6_000);
  expect(started).toEqual(['tarpit1@0', 'no1@1', 'ok5@2', 'tarpit2@3', 'ok9@3']);
  expect(result()).toMatchObject({ winner: { server: 'ok5' }, losers: ['tarpit1', 'tarpit2', 'ok9'] });
  expect(clock.pending).toBeLessThanOrEqual(3);
});

test('who has lost is told so alone; the race goes on for the others', async () => {
  const { clock, join, run, failed, result } = raced();
  join('a', 'tarpit');
  run();
  join('b', 'no1', 'no2');
  await clock.advance(3_000);
  expect([failed('a'), failed('b')]).toEqual([undefined, ['no1', 'no2']]);
  await clock.advance(42_000);
  expect(failed('a')).toEqual(['tarpit']);
  expect(result()).toMatchObject({ winner: null, losers: ['tarpit'] });
});

test('the race has an end: who came late begins another, and their servers have not failed', async () => {
  const { clock, join, run, failed, result } = raced();
  join('a', 'tarpit1');
  run();
  await clock.advance(44_000);
  join('b', 'ok9');
  await clock.advance(1_000);
  expect([failed('a'), failed('b')]).toEqual([['tarpit1'], 'again']);
  expect(result()?.failures.map(({ server }) => server)).toEqual(['tarpit1']);
  expect(result()?.losers).toEqual(['tarpit1', 'ok9']);
});

test('one owner has ten servers asked at once, all together thirty; who has the most makes room', async () => {
  const { clock, started, aborted, join, run } = raced();

  for (const owner of ['a', 'b', 'c', 'd']) {
    for (let i = 0; i < 12; i++) join(owner, `tarpit-${owner}${i}`);
  }
  run();
  await clock.advance(0);
  expect(started).toHaveLength(48);
  expect(started.length - aborted.length).toBe(30);
  join('e', 'tarpit-e', 'ok1');
  expect(started.at(-1)).toBe('tarpit-e@0');
  expect(started.length - aborted.length).toBe(30);
  expect(aborted).not.toContain('tarpit-e');
});

test('the candidates of all are in a fair order', () => {
  const { race, join } = raced();
  join('a', 'a1', 'a2', 'a3');
  join('b', 'b1', 'a1');
  expect(race.candidates).toEqual(['a1', 'b1', 'a2', 'a3']);
});
