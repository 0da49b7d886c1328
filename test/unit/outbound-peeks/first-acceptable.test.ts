import { expect, test } from 'vitest';
import type { RaceResult } from '../../../src/outbound-peeks/candidate-race.ts';
import { firstAcceptable } from '../../../src/outbound-peeks/first-acceptable.ts';
import { ManualClock } from '../../support/manual-clock.ts';

/** Servers named after what they do: `ok5` answers after five seconds, `no2` fails after two, `tarpit` never ends. */
function race(...servers: string[]) {
  const clock = new ManualClock(0);
  const started: string[] = [];
  const aborted: string[] = [];
  let result: RaceResult<string> | null = null;
  const attempt = async (server: string, signal: AbortSignal) => {
    started.push(`${server}@${clock.now() / 1000}`);
    signal.addEventListener('abort', () => aborted.push(server));
    await clock.sleep(server === 'tarpit' ? 1e9 : Number(server.replace(/\D/g, '')) * 1000);
    if (server.startsWith('no')) throw new Error(server);
    return `from ${server}`;
  };
  void firstAcceptable(servers, attempt, { clock, nextAfterMs: 3_000, withinMs: 45_000 }).then((race) => {
    result = race;
  });
  return { clock, started, aborted, result: () => result as RaceResult<string> | null };
}

test('one after the other while they are quick', async () => {
  const { clock, started, result } = race('no1', 'no2', 'ok2', 'ok1');
  await clock.advance(60_000);
  expect(started).toEqual(['no1@0', 'no2@1', 'ok2@3']);
  expect(result()).toMatchObject({ winner: { server: 'ok2', value: 'from ok2' }, losers: [] });
  expect(result()?.failures.map(({ server }) => server)).toEqual(['no1', 'no2']);
  expect(clock.pending).toBe(0);
});

test('the next one is started when the first is slow; the first acceptable answer wins, the others are aborted', async () => {
  const { clock, started, aborted, result } = race('tarpit', 'ok9', 'ok1');
  await clock.advance(7_000);
  expect(started).toEqual(['tarpit@0', 'ok9@3', 'ok1@6']);
  expect(result()).toMatchObject({ winner: { server: 'ok1' }, losers: ['tarpit', 'ok9'] });
  expect(aborted).toEqual(['tarpit', 'ok9']);
});

test('a slow one may still win', async () => {
  const { clock, result } = race('ok8', 'no4');
  await clock.advance(8_000);
  expect(result()).toMatchObject({ winner: { server: 'ok8' }, losers: [] });
});

test('one deadline for all of them', async () => {
  const { clock, aborted, result } = race('no1', 'tarpit');
  await clock.advance(44_999);
  expect(result()).toBeNull();
  await clock.advance(1);
  expect(result()).toMatchObject({ winner: null, losers: ['tarpit'] });
  expect(result()?.failures.map(({ server }) => server)).toEqual(['no1', 'tarpit']);
  expect(aborted).toEqual(['tarpit']);
});

test('nobody to ask ⇒ nobody won', async () => {
  const { clock, result } = race();
  await clock.advance(0);
  expect(result()).toEqual({ winner: null, failures: [], losers: [] });
  expect(clock.pending).toBe(0);
});
