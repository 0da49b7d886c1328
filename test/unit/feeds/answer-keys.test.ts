import { expect, test } from 'vitest';
import { gatherJobKeys, gatherKeys } from '../../../src/feeds/authorisation/answer-keys.ts';
import type { KeyRing } from '../../../src/remote-servers/remote-servers.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const KEY = new Uint8Array(32);
const NOW = 1_790_000_000_000;

const signedBy = (server: string, keyId = 'ed25519:1', at = NOW) => ({
  origin_server_ts: at,
  signatures: { [server]: { [keyId]: 'signature' } },
});

/** Servers answer after so many milliseconds, or never. */
class SlowRing implements KeyRing {
  readonly asked: string[] = [];
  readonly left: string[] = [];
  readonly #known = new Set<string>();
  readonly #clock = new ManualClock();
  readonly #takes: (server: string) => number;

  constructor(takes: (server: string) => number) {
    this.#takes = takes;
  }

  get clock() {
    return this.#clock;
  }

  async publicKey(
    server: string,
    keyId: string,
    _at?: number,
    _use?: string,
    signal?: AbortSignal,
  ): Promise<Uint8Array | null> {
    this.asked.push(`${server} ${keyId}`);
    signal?.addEventListener('abort', () => this.left.push(server));
    await this.#clock.sleep(this.#takes(server));
    this.#known.add(`${server} ${keyId}`);
    return KEY;
  }

  known(server: string, keyId: string): Uint8Array | null {
    return this.#known.has(`${server} ${keyId}`) ? KEY : null;
  }
}

test('servers that never give their keys cost 20 seconds in all, and the others’ keys are there', async () => {
  const ring = new SlowRing((server) => (server.startsWith('slow') ? Number.POSITIVE_INFINITY : 5_000));
  const events = Array.from({ length: 100 }, (_, i) => signedBy(`${i % 2 ? 'slow' : 'good'}${i}.test`));
  let gathered: KeyRing | null = null;
  void gatherKeys(events, ring, ring.clock).then((keys) => {
    gathered = keys;
  });
  await ring.clock.advance(19_999);
  expect(gathered).toBeNull();
  await ring.clock.advance(1);
  const keys = gathered ?? expect.fail();
  expect(await (keys as KeyRing).publicKey('good98.test', 'ed25519:1', NOW, 'event')).toBe(KEY);
  expect(await (keys as KeyRing).publicKey('slow1.test', 'ed25519:1', NOW, 'event')).toBeNull();
  expect(ring.asked).toHaveLength(100);
  // Nobody waits for those that are still to come.
  expect(ring.left.filter((server) => server.startsWith('slow'))).toHaveLength(50);
});

test('at most 200 servers are asked, those of the first events; known ones do not count', async () => {
  const ring = new SlowRing(() => 0);
  const known = Array.from({ length: 150 }, (_, i) => signedBy(`known${i}.test`));
  const first = gatherKeys(known, ring, ring.clock);
  await ring.clock.advance(0);
  await first;
  const unknown = Array.from({ length: 500 }, (_, i) => signedBy(`s${i}.test`));
  const second = gatherKeys([...known, ...unknown], ring, ring.clock);
  await ring.clock.advance(0);
  await second;
  expect(ring.asked).toHaveLength(150 + 200);
  expect(ring.asked.at(-1)).toBe('s199.test ed25519:1');
});

test('each key is asked for once, and not more than three of a server', async () => {
  const ring = new SlowRing(() => 0);
  const events = Array.from({ length: 50 }, (_, i) => signedBy('a.test', `ed25519:${i % 10}`, NOW + i));
  const gathering = gatherKeys([...events, null, {}, { signatures: { a: 1 } }], ring, ring.clock);
  await ring.clock.advance(0);
  await gathering;
  expect(ring.asked).toEqual(['a.test ed25519:0', 'a.test ed25519:1', 'a.test ed25519:2']);
});

test('for a worker: each key and the last time at which it counts; one that has run out counts for 1970', async () => {
  const ring = new SlowRing(() => 0);
  const until = new Map([
    ['good.test', NOW + 5],
    ['old.test', NOW - 1],
  ]);
  const known: KeyRing['known'] = (server, _keyId, at) => (at <= (until.get(server) ?? -1) ? KEY : null);
  const keys: KeyRing = { known, publicKey: async () => null };
  const times = Float64Array.from([NOW, NOW + 4, NOW + 6]);
  const uses = ['good.test', 'old.test', 'none.test'].map((server) => ({
    server,
    keyId: 'ed25519:1',
    times,
  }));
  expect(await gatherJobKeys(uses, keys, ring.clock)).toEqual([
    { server: 'good.test', keyId: 'ed25519:1', publicKey: KEY, until: NOW + 4 },
    { server: 'old.test', keyId: 'ed25519:1', publicKey: KEY, until: 0 },
  ]);
});
