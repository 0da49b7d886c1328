import { Client } from 'undici';
import { type Pair, startPair } from '../support/federation.ts';
import { Child } from './child.ts';
import { type BenchResult, median, printTable, ROUNDS, row } from './harness.ts';
import type { Peeked } from './peeker-process.ts';

const UPSTREAM = new URL('./room-upstream-process.ts', import.meta.url);
const FIRST_PEEK = new URL('./first-peek-process.ts', import.meta.url);
const PEER = new URL('./room-peer-process.ts', import.meta.url);
const PEEKER = new URL('./peeker-process.ts', import.meta.url);
const MEMBERS = 27_900;
const LARGE_ROUNDS = 5;
const WAIT_MS = 30_000;
const LAZY = { room: { state: { lazy_load_members: true } } };

/**
 * From `POST /peek` to the first section in hand. Small rooms on real Synapses, a fresh room each time, against who
 * joins the same kind of room instead; large ones, of 28 000 members, with members loaded lazily, before a scripted
 * homeserver and through a scripted server.
 */
export async function run(): Promise<BenchResult> {
  const small = await smallRooms();
  const resident = await largeResident();
  const remote = await largeRemote();
  printTable('28 000 members, loaded lazily, ms', [
    row('resident: first device', resident.first, 0),
    row('resident: a second device', resident.second, 0),
    row('resident: the homeserver’s `/state` alone', resident.alone, 0),
    row('resident: most computed in one go, CPU ms', resident.work, 1),
    row('remote: first device', remote, 0),
  ]);
  return {
    bench: 'first-peek',
    ratios: {
      ...small,
      large_resident_ms: median(resident.first),
      large_resident_second_ms: median(resident.second),
      large_resident_work_ms: Math.max(...resident.work),
      large_remote_ms: median(remote),
    },
    goals: {},
  };
}

async function smallRooms(): Promise<Record<string, number>> {
  const pair = await startPair({ store: 'sqlite', b: { proxyEnv: ample }, a: { proxyEnv: ample } });
  try {
    const remote = await against(pair, 'b');
    const local = await against(pair, 'a');
    printTable('a small room, ms', [
      row('resident: peek', local.peeking, 1),
      row('resident: join', local.joining, 1),
      row('remote: peek', remote.peeking, 1),
      row('remote: join', remote.joining, 1),
    ]);
    return {
      resident_peek_vs_join: ratio(local),
      remote_peek_vs_join: ratio(remote),
      resident_peek_ms: median(local.peeking),
      remote_peek_ms: median(remote.peeking),
    };
  } finally {
    await pair.stop();
  }
}

const ample = { PEEK_RATE_LIMIT: '1000/m' };

interface Rounds {
  readonly peeking: number[];
  readonly joining: number[];
}

async function against(pair: Pair, side: 'a' | 'b'): Promise<Rounds> {
  const creator = await pair.a.register(`creator-${side}`);
  const [peeker, joiner] = [await pair[side].register('peeks'), await pair[side].register('joins')];
  const via = [pair.a.serverName];
  const since = { peeking: (await peeker.sync()).next_batch, joining: (await joiner.sync()).next_batch };
  const rounds: Rounds = { peeking: [], joining: [] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const how of ['peeking', 'joining'] as const) {
      const roomId = await creator.createWorldReadableRoom();
      await creator.sendText(roomId, 'the newest');
      const client = how === 'peeking' ? peeker : joiner;
      const began = performance.now();
      if (how === 'peeking') await client.peek(roomId, via);
      else await client.join(roomId, via);
      for (;;) {
        const { next_batch, rooms } = await client.sync({ since: since[how], timeout: WAIT_MS });
        since[how] = next_batch;
        const section = how === 'peeking' ? rooms.peek : rooms.join;
        if (section[roomId] !== undefined) break;
      }
      // Code is loaded and compiled in the first round, which is not counted.
      if (round > 0) rounds[how].push(performance.now() - began);
    }
  }
  return rounds;
}

function ratio({ peeking, joining }: Rounds): number {
  return median(peeking.map((ms, round) => ms / (joining[round] ?? Number.NaN)));
}

async function largeResident() {
  const upstream = await Child.start(UPSTREAM);
  const ours = await Child.start(FIRST_PEEK, [`http://127.0.0.1:${upstream.port}`]);
  const proxy = new Client(`http://127.0.0.1:${ours.port}`);
  const homeserver = new Client(`http://127.0.0.1:${upstream.port}`);
  try {
    const peek = async (room: string, device: string): Promise<number> => {
      const began = performance.now();
      await ask(proxy, 'POST', `/peek/${encodeURIComponent(room)}`, device);
      const filter = encodeURIComponent(JSON.stringify(LAZY));
      const section = await ask(proxy, 'GET', `/sync?timeout=0&filter=${filter}`, device);
      if (!section.includes('"m.widget"')) throw new Error('the first section has no state');
      return performance.now() - began;
    };
    const [first, second, alone, work] = [[], [], [], []] as number[][] as [
      number[],
      number[],
      number[],
      number[],
    ];
    for (let round = 0; round <= LARGE_ROUNDS; round++) {
      const room = `!room${round}:bench.test`;
      await ours.ask('watch');
      const [one, two] = [await peek(room, `first${round}`), await peek(room, `second${round}`)];
      const seen = await ours.ask<{ work: number }>('watch');
      const began = performance.now();
      await ask(homeserver, 'GET', `/rooms/${encodeURIComponent(room)}/state`, 'reader');
      if (round === 0) continue;
      alone.push(performance.now() - began);
      first.push(one);
      second.push(two);
      work.push(seen.work);
    }
    return { first, second, alone, work };
  } finally {
    await Promise.all([proxy.close(), homeserver.close()]);
    await Promise.all([ours.stop(), upstream.stop()]);
  }
}

async function ask(client: Client, method: 'GET' | 'POST', path: string, token: string): Promise<string> {
  const { statusCode, body } = await client.request({
    method,
    path: `/_matrix/client/v3${path}`,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(method === 'POST' && { body: '{}' }),
  });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`${method} ${path} answered ${statusCode} ${text}`);
  return text;
}

/** A fresh process, and with it an empty store, each round. */
async function largeRemote(): Promise<number[]> {
  const peer = await Child.start(PEER, [String(MEMBERS)]);
  try {
    const { roomId } = await peer.ask<{ roomId: string }>('room');
    const readable: number[] = [];
    for (let round = 0; round < LARGE_ROUNDS; round++) {
      const peeker = await Child.start(PEEKER);
      const asked = { roomId, server: `localhost:${peer.port}` };
      readable.push((await peeker.ask<Peeked>(asked)).readable);
      await peeker.stop();
    }
    return readable;
  } finally {
    await peer.stop();
  }
}
