import type { JsonObject } from '../../src/matrix/json.ts';

/** Asks a process to send each of so many events to each of these servers; it answers the CPU time spent (ms). */
export interface RelayRun {
  readonly events: number;
  readonly ports: readonly number[];
}

export const ROOM = '!room:bench.test';

/** A message as Synapse makes one, some 700 bytes. */
export function message(n: number): JsonObject {
  return {
    auth_events: [1, 2, 3].map((i) => `$${String(i).padStart(43, 'a')}`),
    content: { body: `message number ${n}`, msgtype: 'm.text', 'm.mentions': {} },
    depth: n + 10,
    hashes: { sha256: String(n).padStart(43, 'h') },
    origin_server_ts: 1_700_000_000_000 + n,
    prev_events: [`$${String(n).padStart(43, 'p')}`],
    room_id: ROOM,
    sender: '@alice:bench.test',
    signatures: { 'bench.test': { 'ed25519:bench': 'S'.repeat(86) } },
    type: 'm.room.message',
  };
}

/** The CPU time of this process since `before`, in ms. */
export function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/**
 * Between two events. Who waits for the disk or for a homeserver meanwhile finds caches cold and the other process
 * asleep, and pays for it; here all do.
 */
export function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}
