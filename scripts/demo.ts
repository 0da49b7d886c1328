import { enc, passwordOf } from '../test/support/client.ts';
import { type Pair, startPair } from '../test/support/federation.ts';
import { send } from '../test/support/http.ts';
import { beginEntry, progress } from '../test/support/work.ts';
import { type Lobby, MEMBERS, makeLobby } from './demo/lobby.ts';
import { openTheatre, previewInBrowser, type Theatre } from './demo/page.ts';
import { checkFirstSection, peekByAlias, refusals, unpeek } from './demo/peek-remote.ts';
import { Story } from './demo/story.ts';
import { takeTurns } from './demo/turns.ts';
import { readOptions } from './options.ts';
import { pageAddress } from './page/serve.ts';

/**
 * Two real Synapses, A and B, each behind this proxy, federating over TLS on loopback; a room of A is
 * peeked from B, and previewed in a browser. `--keep` leaves them running until Ctrl-C. Exits 1 when an expectation does not hold.
 */
const USAGE = `Usage: npm run demo [-- --keep]
Starts two homeservers, each behind a proxy, on this machine; a room of one is peeked from the other.
  --keep    leaves them running until Ctrl-C, and prints how to try it by hand`;

beginEntry();
const { keep } = readOptions(USAGE, { keep: { type: 'boolean', default: false } });
const story = new Story();
const started = Date.now();
const seconds = () => `${((Date.now() - started) / 1000).toFixed(1)} s`;

let pair: Pair | undefined;
try {
  progress('starting two homeservers, A and B, each behind a proxy');
  const theatre = openTheatre();
  theatre.catch(() => {});
  pair = await startPair({ store: 'sqlite' });
  progress(`A is ${pair.a.serverName}, B is ${pair.b.serverName}; they are up after ${seconds()}`);
  const lobby = await tell(pair, theatre);
  console.log(`\nAll of it held, ${seconds()}.`);
  if (keep) await stay(pair, lobby, await theatre);
  await pair.stop();
} catch (error) {
  console.error(`\nThe demo failed at ${story.place}:\n${error instanceof Error ? error.message : error}`);
  if (pair) console.error(`logs: ${pair.a.proxy.log}\n      ${pair.b.proxy.log}`);
  process.exitCode = 1;
}
process.exit();

async function tell({ a, b }: Pair, theatre: Promise<Theatre>): Promise<Lobby> {
  story.step(
    `A world-readable room on A: ${MEMBERS} members, a redaction, an edit, a change of power levels`,
  );
  const [alice, bob, carol] = await Promise.all([
    a.register('alice'),
    b.register('bob'),
    b.register('carol'),
  ]);
  const lobby = await makeLobby(a, alice);
  story.note(`${lobby.alias} is ${lobby.roomId}`);

  const first = await peekByAlias(story, bob, lobby);

  const joinedRoom = await alice.createRoom({ preset: 'public_chat', name: 'The club' });
  await carol.join(joinedRoom, [a.serverName]);
  const since = await takeTurns(story, {
    alice,
    bob,
    since: first.next_batch,
    peekedRoom: lobby.roomId,
    carol,
    joinedRoom,
  });

  await unpeek(story, bob, lobby, since);
  await refusals(story, bob, alice, a.serverName);
  await peekAtHome({ a, b }, lobby);
  await previewInBrowser(story, await theatre, lobby, await b.register('erin'));
  await health({ a, b });
  return lobby;
}

async function peekAtHome({ a }: Pick<Pair, 'a' | 'b'>, lobby: Lobby): Promise<void> {
  story.step('dave, on A itself, peeks the same room without joining it');
  const dave = await a.register('dave');
  const before = await dave.sync();
  const peeked = await story.exchange(
    `POST /_matrix/client/v3/peek/${enc(lobby.roomId)}`,
    dave.peek(lobby.roomId),
  );
  story.check(peeked.status === 200, 'the peek is accepted');
  const { rooms } = await dave.sync({ since: before.next_batch, timeout: 10_000 });
  const room = rooms.peek[lobby.roomId];
  checkFirstSection(story, lobby, room?.state?.events ?? [], room?.timeline?.events ?? []);
}

async function health({ a, b }: Pick<Pair, 'a' | 'b'>): Promise<void> {
  story.step('What the proxies say of themselves');
  for (const { proxy } of [a, b]) {
    const answer = await story.exchange(`GET ${proxy.opsUrl}/health`, send(proxy.opsUrl, 'GET', '/health'));
    story.check(answer.status === 200, 'healthy');
  }
}

/** Prints how to try it by hand, and stays until a signal comes. */
async function stay({ a, b }: Pair, lobby: Lobby, { page }: Theatre): Promise<never> {
  const visitor = await b.register('visitor');
  const preview = pageAddress(page.url, { homeserver: b.url, room: lobby.alias, user: 'visitor' });
  console.log(`
They stay until Ctrl-C.
  A   ${a.serverName}  for clients ${a.url}, health ${a.proxy.opsUrl}/health, Synapse itself ${a.synapse.url}
  B   ${b.serverName}  for clients ${b.url}, health ${b.proxy.opsUrl}/health, Synapse itself ${b.synapse.url}
Accounts
  alice, dave (on A), bob, carol, erin, visitor (on B); the password of each is "${passwordOf('NAME')}"
Preview it in your browser, as today's clients do:
  ${preview}
Peek from B, read it, say something on A:
  curl -XPOST -H 'Authorization: Bearer ${visitor.token}' '${b.url}/_matrix/client/v3/peek/${enc(lobby.alias)}' -d '{}'
  curl -H 'Authorization: Bearer ${visitor.token}' '${b.url}/_matrix/client/v3/sync'
  curl -XPUT -H 'Authorization: Bearer ${lobby.creator.token}' '${a.url}/_matrix/client/v3/rooms/${enc(lobby.roomId)}/send/m.room.message/1' -d '{"msgtype":"m.text","body":"hello from A"}'
`);
  return new Promise(() => setInterval(() => {}, 60_000));
}
