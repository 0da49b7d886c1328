import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { HomeserverWatch } from '../../../src/app/homeserver-watch.ts';
import { PeekingSwitch } from '../../../src/app/peeking-switch.ts';
import type { HomeserverProblem, HomeserverReport } from '../../../src/homeserver/probe.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const MINUTE = 60_000;

function report(kind: HomeserverProblem['kind'] | null): HomeserverReport {
  const problem = kind === null ? null : { kind, reason: `reason: ${kind}`, advice: `advice: ${kind}` };
  return { reachable: kind !== 'down', problem, groupsFieldAccepted: true, version: 'Synapse 1' };
}

/** A watch over a homeserver in a state that the test sets. */
function watching(first: HomeserverProblem['kind'] | null) {
  const clock = new ManualClock();
  const peekingSwitch = new PeekingSwitch();
  const state = { problem: first, turnedOn: 0, looks: 0, startFails: false, probeFails: false };
  const said: string[] = [];
  const watch = new HomeserverWatch({
    clock,
    peekingSwitch,
    logger: pino({ level: 'info' }, { write: (line: string) => said.push(JSON.parse(line).msg) }),
    probe: async () => {
      state.looks++;
      if (state.probeFails) throw new Error('a fault in the probe');
      return report(state.problem);
    },
  });
  const running = watch.run(async () => {
    state.turnedOn++;
    if (state.startFails) throw new Error('the store is down');
  });
  onTestFinished(async () => {
    watch.stop();
    await running;
  });
  return { clock, peekingSwitch, watch, state, said };
}

test('peeking comes on with the homeserver’s first good answer, and is looked after once a minute', async () => {
  const { clock, peekingSwitch, watch, state } = watching(null);
  expect(peekingSwitch.off?.reason).toBe('the homeserver has not answered yet');
  await clock.advance(0);
  expect([peekingSwitch.on, watch.heard, state.turnedOn]).toEqual([true, true, 1]);
  await clock.advance(3 * MINUTE);
  expect([state.looks, state.turnedOn]).toEqual([4, 1]);
});

test('a homeserver that is down is waited for', async () => {
  const { clock, peekingSwitch, watch, state } = watching('down');
  await clock.advance(MINUTE);
  expect([peekingSwitch.on, watch.heard]).toEqual([false, false]);
  expect(peekingSwitch.off).toEqual({ reason: 'reason: down', advice: 'advice: down' });
  expect(state.looks).toBeLessThan(15);
  state.problem = null;
  await clock.advance(10_000);
  expect(peekingSwitch.on).toBe(true);
});

test('one that goes away for a moment changes nothing', async () => {
  const { clock, peekingSwitch, state } = watching(null);
  await clock.advance(0);
  state.problem = 'down';
  await clock.advance(5 * MINUTE);
  expect(peekingSwitch.on).toBe(true);
});

test('an outage while peeking is on is in the log, once when it begins and once when it is over', async () => {
  const { clock, watch, state, said } = watching(null);
  await clock.advance(0);
  state.problem = 'down';
  await clock.advance(5 * MINUTE);
  await watch.fresh();
  expect(said).toEqual(['peeking is on', expect.stringContaining('the homeserver is away')]);
  state.problem = null;
  await clock.advance(MINUTE);
  expect(said.slice(2)).toEqual(['the homeserver is back']);
});

test('a homeserver that is down from the start is told of as peeking that is off, then on', async () => {
  const { clock, state, said } = watching('down');
  await clock.advance(MINUTE);
  state.problem = null;
  await clock.advance(MINUTE);
  expect(said).toEqual(['peeking is off', 'peeking is on']);
});

test.each(['wrong-name', 'wrong-key', 'whitelist'] as const)(
  'one that comes up with another name or key: peeking is off and says why (%s), and on again when that is mended',
  async (kind) => {
    const { clock, peekingSwitch, watch, state } = watching(null);
    await clock.advance(0);
    state.problem = kind;
    await clock.advance(MINUTE);
    expect([peekingSwitch.on, watch.heard]).toEqual([false, true]);
    expect(peekingSwitch.off?.reason).toBe(`reason: ${kind}`);
    state.problem = null;
    await clock.advance(10_000);
    expect([peekingSwitch.on, state.turnedOn]).toEqual([true, 2]);
  },
);

test('without a reader peeking is on all the same: other servers’ rooms can be peeked', async () => {
  const { clock, peekingSwitch } = watching('no-reader');
  await clock.advance(0);
  expect(peekingSwitch.on).toBe(true);
});

test('what has to start with peeking and fails keeps it off, and is tried again', async () => {
  const { clock, peekingSwitch, state } = watching(null);
  state.startFails = true;
  await clock.advance(2_000);
  expect(peekingSwitch.off?.reason).toContain('the store is down');
  state.startFails = false;
  await clock.advance(10_000);
  expect(peekingSwitch.on).toBe(true);
});

test('a fault in the probe does not end the watch', async () => {
  const { clock, peekingSwitch, state } = watching(null);
  state.probeFails = true;
  await clock.advance(2 * MINUTE);
  expect(peekingSwitch.on).toBe(true);
  state.probeFails = false;
  state.problem = 'wrong-key';
  await clock.advance(MINUTE);
  expect(peekingSwitch.on).toBe(false);
});

test('who asks for another look while the homeserver counts as down waits for it, and looks are 100 ms apart', async () => {
  const { clock, peekingSwitch, watch, state } = watching('down');
  await clock.advance(20_000);
  const looks = state.looks;
  state.problem = null;
  let looked = 0;
  for (let i = 0; i < 50; i++) void watch.lookAgain().then(() => looked++);
  await clock.advance(100);
  expect([peekingSwitch.on, looked, state.looks]).toEqual([true, 50, looks + 1]);
  await watch.lookAgain();
  expect(state.looks).toBe(looks + 1);
});

test('a look that was asked for and finds the homeserver still down ⇒ whoever asked goes on', async () => {
  const { clock, peekingSwitch, watch } = watching('down');
  await clock.advance(20_000);
  const again = watch.lookAgain();
  await clock.advance(100);
  await again;
  expect(peekingSwitch.on).toBe(false);
});

test.each(['wrong-name', 'wrong-key', 'whitelist'] as const)(
  '%s ⇒ nobody waits for another look',
  async (kind) => {
    const { clock, watch, state } = watching(kind);
    await clock.advance(1_000);
    const looks = state.looks;
    await watch.lookAgain();
    expect(state.looks).toBe(looks);
  },
);

test('when the process is ending peeking does not come on again', async () => {
  const { clock, peekingSwitch } = watching(null);
  await clock.advance(0);
  peekingSwitch.end();
  await clock.advance(3 * MINUTE);
  expect(peekingSwitch.off?.reason).toBe('the proxy is ending');
});
