import { execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { openStore } from '../../../src/store/open-store.ts';
import type { Store } from '../../../src/store/store.ts';
import { startRedis } from '../../support/redis-server.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { type Acknowledged, LOAD } from '../../support/store-load.ts';

const SCRIPT = join(import.meta.dirname, '../../support/store-load.ts');
const SQLITE_KILLS = 200;
const REDIS_KILLS = 20;
/** A load that has started is killed after up to this, so that it is hit in the middle of something. */
const LIVES_AT_MOST_MS = 60;

/** Compiled code is kept here: loads that find it start in half the time. Node writes it only at an orderly exit. */
const compiled = mkdtempSync(join(tmpdir(), 'peek-compiled-'));
const env = { ...process.env, NODE_COMPILE_CACHE: compiled };

beforeAll(() => {
  execFileSync(process.execPath, ['-e', 'import(process.argv[1])', SCRIPT], { env });
});
afterAll(() => rmSync(compiled, { recursive: true, force: true }));

/** Runs a load, kills it `afterMs` after its first line, and gives what it had acknowledged. */
function killedLoad(target: string, seed: number, run: number, afterMs: number): Promise<Acknowledged[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [SCRIPT, target, String(seed), String(run)], { env });
    let said = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (said === '') setTimeout(() => child.kill('SIGKILL'), afterMs);
      said += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    child.once('error', reject);
    child.once('close', (_code, signal) => {
      if (signal !== 'SIGKILL') return reject(new Error(`the load ended by itself: ${complaint}`));
      // A line that the kill has cut short was not read by anybody as an acknowledgement.
      const lines = said
        .slice(0, said.lastIndexOf('\n') + 1)
        .trimEnd()
        .split('\n');
      resolve(lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Acknowledged));
    });
  });
}

/** What a store must hold after acknowledged operations. */
class Expected {
  readonly positions = new Map<string, number>();
  readonly peeks = new Map<number, 'live' | 'ended' | 'gone'>();
  token = 0;
  cursor = 0;
  renewAt = 0;

  note(operation: Acknowledged): void {
    if (operation.did === 'append') {
      for (const [index, eventId] of operation.eventIds.entries()) {
        this.positions.set(eventId, operation.positions[index] ?? -1);
      }
      this.token = Number(operation.token.slice(1));
    } else if (operation.did === 'advance') this.cursor = operation.position;
    else if (operation.did === 'renew') this.renewAt = operation.renewAt;
    else
      this.peeks.set(
        operation.instance,
        ({ peek: 'live', unpeek: 'ended', forget: 'gone' } as const)[operation.did],
      );
  }

  /** The operation that was cut off may have happened or not: so much later may a value be, and no less. */
  async check(store: Store): Promise<void> {
    const { roomId, userId, deviceId, firstPosition } = LOAD;
    const log = await store.logs.get(roomId);
    const entries = await store.logs.read(roomId, 0, Number.MAX_SAFE_INTEGER);
    const held = new Map(entries.map((entry) => [entry.eventId, entry.position]));
    for (const [eventId, position] of this.positions) expect(held.get(eventId), eventId).toBe(position);
    expect(entries.map((entry) => entry.position)).toEqual(entries.map((_, n) => firstPosition + n));
    expect(log?.head).toBe(firstPosition + entries.length - 1);
    expect(Number(log?.feedToken?.slice(1) ?? 0)).toBeGreaterThanOrEqual(this.token);

    const peeks = await store.devicePeeks.ofDevice(userId, deviceId);
    const found = new Map(peeks.map((peek) => [peek.instance, peek.ended === null ? 'live' : 'ended']));
    const order = ['live', 'ended', 'gone'];
    let further = 0;
    for (const [instance, state] of this.peeks) {
      const steps = order.indexOf(found.get(instance) ?? 'gone') - order.indexOf(state);
      expect(steps, `peek ${instance}`).toBeGreaterThanOrEqual(0);
      further += steps;
    }
    expect(further, 'operations that nobody began').toBeLessThanOrEqual(this.cutOff);
    const [cursor] = await store.inboundPeeks.cursors();
    expect(cursor?.position ?? 0).toBeGreaterThanOrEqual(this.cursor);
    const [outbound] = await store.outboundPeeks.ofRoom(roomId);
    expect(outbound?.renewAt ?? 0).toBeGreaterThanOrEqual(this.renewAt);
  }

  /** How many loads have been killed: each has one operation that was cut off. */
  cutOff = 0;
}

async function nothingIsLost(target: string, kills: number): Promise<void> {
  const seed = randomInt(2 ** 31);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const expected = new Expected();
  let operations = 0;
  const check = async () => {
    const redisUrl = target.startsWith('redis') ? target : null;
    const logger = pino({ level: 'silent' });
    const store = await openStore({ redisUrl, dataDir: target, clock: systemClock, logger });
    try {
      await expected.check(store);
    } finally {
      await store.close();
    }
  };
  for (let run = 1; run <= kills; run++) {
    const acknowledged = await killedLoad(target, seed, run, random.below(LIVES_AT_MOST_MS));
    for (const operation of acknowledged) expected.note(operation);
    operations += acknowledged.length;
    expected.cutOff += 1;
    if (run % 10 === 0) await check();
  }
  await check();
  expect(operations).toBeGreaterThan(kills);
}

test(`SIGKILL, ${SQLITE_KILLS} times at random moments: SQLite opens again and nothing acknowledged is lost`, {
  timeout: 180_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'peek-sigkill-'));
  try {
    await nothingIsLost(folder, SQLITE_KILLS);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test(`SIGKILL of the proxy mid-transaction, ${REDIS_KILLS} times: nothing acknowledged is lost in Redis`, {
  timeout: 120_000,
}, async () => {
  const server = await startRedis();
  try {
    await nothingIsLost(server.url, REDIS_KILLS);
  } finally {
    await server.stop();
  }
});
