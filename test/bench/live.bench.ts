import { type Pair, startPair } from '../support/federation.ts';
import { type LiveReader, oneMessage } from '../support/live-reader.ts';
import { type BenchResult, median, ROUNDS, row } from './harness.ts';

const EVENTS = 200;
/** The poll waits at the homeserver by then; it is not measured. */
const SETTLE_MS = 40;

/**
 * From the send on A to the `/sync` in hand, on real Synapses: who peeks against who is joined, each in a room of
 * its own, event by event in turns. Once over federation (both readers on B), once on A itself.
 */
export async function run(): Promise<BenchResult> {
  const pair = await startPair({ store: 'sqlite' });
  try {
    const remote = await duel(pair, 'b');
    const local = await duel(pair, 'a');
    console.log(`| ${EVENTS} events each, ms | median of ${ROUNDS} rounds | from – to |\n|---|---|---|`);
    for (const [name, rounds] of Object.entries({
      ...named('over federation', remote),
      ...named('local', local),
    })) {
      console.log(row(name, rounds, 1));
    }
    return {
      bench: 'live',
      ratios: {
        remote_peeker_vs_joined: ratio(remote),
        local_peeker_vs_member: ratio(local),
        remote_peeker_ms: median(remote.peeking),
        local_peeker_ms: median(local.peeking),
      },
      goals: {
        'over federation': { ratio: 'remote_peeker_vs_joined', max: 0.7 },
        local: { ratio: 'local_peeker_vs_member', max: 1.1 },
      },
    };
  } finally {
    await pair.stop();
  }
}

interface Rounds {
  /** The median of each round. */
  readonly peeking: number[];
  readonly joined: number[];
}

async function duel(pair: Pair, side: 'a' | 'b'): Promise<Rounds> {
  const site = pair[side];
  const [sender, peeker, member] = await Promise.all([
    pair.a.register(`sender-${side}`),
    site.register(`peeker-${side}`),
    site.register(`member-${side}`),
  ]);
  const via = [pair.a.serverName];
  const [peekedRoom, joinedRoom] = [
    await sender.createWorldReadableRoom(),
    await sender.createWorldReadableRoom(),
  ];
  await member.join(joinedRoom, via);
  const peeked = await peeker.peek(peekedRoom, via);
  if (peeked.status !== 200) throw new Error(`the peek was refused: ${peeked.text}`);
  const readers: { peeking: LiveReader; joined: LiveReader } = {
    peeking: { client: peeker, section: 'peek', roomId: peekedRoom, since: (await peeker.sync()).next_batch },
    joined: { client: member, section: 'join', roomId: joinedRoom, since: (await member.sync()).next_batch },
  };
  const rounds: Rounds = { peeking: [], joined: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const waits = { peeking: [] as number[], joined: [] as number[] };
    for (let event = 0; event < EVENTS / ROUNDS; event++) {
      for (const name of ['peeking', 'joined'] as const) {
        waits[name].push(await oneMessage(sender, readers[name], `${round}.${event}`, SETTLE_MS));
      }
    }
    rounds.peeking.push(median(waits.peeking));
    rounds.joined.push(median(waits.joined));
  }
  return rounds;
}

/** Round against round, so that a machine that slows down does so for both. */
function ratio({ peeking, joined }: Rounds): number {
  return median(peeking.map((ms, round) => ms / (joined[round] ?? Number.NaN)));
}

function named(where: string, { peeking, joined }: Rounds): Record<string, number[]> {
  return { [`${where}: who peeks`]: peeking, [`${where}: who is joined`]: joined };
}
