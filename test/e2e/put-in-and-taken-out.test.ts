import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { unwrapToken } from '../../src/client-sync/sync-token.ts';
import {
  type ClientEvent,
  enc,
  type MatrixClient,
  register,
  type SyncAnswer,
  UnexpectedAnswerError,
} from '../support/client.ts';
import { type Site, startBareSynapse, startSite } from '../support/federation.ts';
import { send } from '../support/http.ts';
import { type RunningProxy, startProxy, writeRegistration } from '../support/proxy.ts';
import type { RunningSynapse } from '../support/synapse.ts';
import { newUser, registerOperator } from './accounts.ts';
import { idsOf, roomsNamed, timelineOf } from './rooms.ts';
import { until } from './until.ts';

const AT_ONCE = { background_updates: { sleep_enabled: false } };

let a: Site;
let synapse: RunningSynapse;
let proxy: RunningProxy | undefined;
beforeAll(async () => {
  [a, synapse] = await Promise.all([startSite({ name: 'a' }), startBareSynapse('b', { settings: AT_ONCE })]);
  // One that is in use has done by now what a new database is given to do, such as a directory of all users.
  await until('it is at rest', () => tables().get('background_updates')?.length === 0, 60_000);
});
afterAll(() => Promise.all([proxy?.stop(), a?.stop(), synapse?.stop()]));

/** Tables in which a homeserver keeps what it knows of a server that has sent it something. */
const OF_A_SERVER = new Set(['received_transactions', 'server_keys_json', 'server_signature_keys']);
/** Tables in which a user is that was never in a room and has no device. */
const OF_AN_ACCOUNT = new Set(['users', 'profiles', 'presence_stream', 'user_stats_current']);

/** While the homeserver is restarted its clients cannot reach it: what fails then is no failure. */
let restarting = false;
/** Set once all has been seen. */
let over = false;
const failures: unknown[] = [];

/** Asks again and again while the homeserver is restarted; an answer that is an error is a failure at any time. */
async function patiently<Value>(ask: () => Promise<Value>): Promise<Value | null> {
  while (!over) {
    const excused = restarting;
    try {
      return await ask();
    } catch (error) {
      if (error instanceof UnexpectedAnswerError || !(excused || restarting)) failures.push(error);
      await sleep(50);
    }
  }
  return null;
}

/** Says something in the room ten times a second, until all is over; an interrupted request is sent again as it was. */
async function talk(client: MatrixClient, roomId: string, sent: string[]): Promise<void> {
  for (let i = 1; !over; i++) {
    const path = `/v3/rooms/${enc(roomId)}/send/m.room.message/t${i}`;
    const said = await patiently(() => client.require('PUT', path, { msgtype: 'm.text', body: `said ${i}` }));
    if (said !== null) sent.push(String(said.event_id));
    await sleep(100);
  }
}

/** A client that syncs on and on, and what it is told of messages, by section. */
class Listener {
  readonly client: MatrixClient;
  readonly answers: SyncAnswer[] = [];
  since: string;
  /** How often the homeserver itself took a token that the proxy had written its part into. */
  carriedOver = 0;

  constructor(client: MatrixClient, since: string) {
    this.client = client;
    this.since = since;
  }

  async listen(): Promise<void> {
    while (!over) {
      const answer = await patiently(async () => {
        const { url } = this.client;
        const told = await this.client.sync({ since: this.since, timeout: 2_000 });
        if (url === synapse.url && unwrapToken(this.since).ours !== null) this.carriedOver++;
        return told;
      });
      if (answer !== null) this.hear(answer);
    }
  }

  hear(answer: SyncAnswer): void {
    this.answers.push(answer);
    this.since = answer.next_batch;
  }

  messages(section: 'join' | 'peek', roomId: string): string[] {
    return this.answers.flatMap(({ rooms }) =>
      idsOf(timelineOf(rooms[section][roomId]).filter(({ type }) => type === 'm.room.message')),
    );
  }
}

/** The homeserver's database, read as it stands on the disk. */
function readDatabase<Value>(read: (database: DatabaseSync) => Value): Value {
  const path = join(dirname(synapse.signingKeyPath), 'homeserver.db');
  const database = new DatabaseSync(path, { readOnly: true, timeout: 10_000 });
  try {
    return read(database);
  } finally {
    database.close();
  }
}

/** All tables, each row as one line. */
function tables(): Map<string, string[]> {
  return readDatabase((database) => {
    const named = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    return new Map(
      named.map(({ name }) => {
        const rows = database.prepare(`SELECT * FROM "${name}"`).all();
        const lines = rows.map((row) =>
          Object.values(row)
            .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value))
            .join(' | '),
        );
        return [String(name), lines.toSorted()];
      }),
    );
  });
}

/** The tables in which something is told of one of these. */
function speakOf(found: ReadonlyMap<string, readonly string[]>, names: readonly string[]): string[] {
  return [...found]
    .filter(([, lines]) => lines.some((line) => names.some((name) => line.includes(name))))
    .map(([table]) => table)
    .toSorted();
}

it('A proxy put before a Synapse that already has users and rooms, and taken out again: nothing of it remains and no client notices more than a failed preview', async () => {
  // A homeserver that has never heard of the proxy.
  const [alice, anna, bob] = await Promise.all([
    newUser(a, 'alice'),
    register(synapse.url, 'anna'),
    register(synapse.url, 'bob'),
  ]);
  const clients = [anna, bob];
  const remote = await alice.createWorldReadableRoom({ name: 'The library' });
  const home = await anna.createRoom({ preset: 'public_chat' });
  await bob.join(home);
  const bobs = new Listener(bob, (await bob.sync()).next_batch);
  const said: string[] = [];
  const running = [talk(anna, home, said), bobs.listen()];
  const heard = async () => {
    const already = said.length;
    await until('messages come', () => {
      expect(failures).toEqual([]);
      return said.length > already && bobs.messages('join', home).includes(said[already] ?? '');
    });
  };
  await heard();
  const before = tables();

  // Put in: the homeserver loads the registration, the proxy takes the port for federation, then the clients.
  const base = {
    homeserverUrl: synapse.url,
    serverName: synapse.serverName,
    signingKeyPath: synapse.signingKeyPath,
    dir: join(dirname(synapse.signingKeyPath), 'proxy'),
  };
  const registrationPath = await writeRegistration(base);
  restarting = true;
  await synapse.restart({ registrationPath, tls: false });
  restarting = false;
  await heard();
  expect(unwrapToken(bobs.since).ours).toBeNull();
  proxy = await startProxy({ ...base, registrationPath });
  for (const client of clients) client.url = proxy.url;
  await heard();

  // One peeks into a room of another server, the other is shown a preview of it.
  const spoken = [await alice.sendText(remote, 'already there')];
  expect(await bob.peek(remote, [a.serverName])).toMatchObject({ status: 200 });
  const initialSync = () => anna.request('GET', `/v3/rooms/${enc(remote)}/initialSync?limit=20`);
  const poll = (from?: string) =>
    anna.request(
      'GET',
      `/v3/events?room_id=${enc(remote)}&timeout=10000${from === undefined ? '' : `&from=${enc(from)}`}`,
    );
  const preview = await initialSync();
  expect(preview).toMatchObject({ status: 200, body: { room_id: remote } });
  const polled = poll(String((preview.body.messages as { end: string }).end));
  spoken.push(await alice.sendText(remote, 'and heard'));
  const shown = await polled;
  expect(idsOf(shown.body.chunk as ClientEvent[])).toEqual(spoken.slice(1));
  await until('the peek has it', () => bobs.messages('peek', remote).length >= spoken.length);
  expect(unwrapToken(bobs.since).ours).not.toBeNull();
  await heard();

  // Taken out: the clients first, then the proxy, then the registration.
  for (const client of clients) client.url = synapse.url;
  expect(await proxy.stop()).toBe(0);
  proxy = undefined;
  restarting = true;
  await synapse.restart({ registrationPath: null, tls: true });
  restarting = false;
  const again = bobs.answers.length;
  await heard();
  const refused = [await poll(String(shown.body.end)), await poll(), await initialSync()];
  expect(refused.map(({ status }) => status)).toEqual([400, 403, 403]);
  // The server that was peeked does not know yet, and goes on sending.
  await alice.sendText(remote, 'to nobody');
  await until('it has been sent', () => speakOf(tables(), [a.serverName]).includes('received_transactions'));
  await heard();
  over = true;
  await Promise.all(running);
  bobs.hear(await bob.sync({ since: bobs.since }));

  expect(failures).toEqual([]);
  expect(bobs.messages('join', home)).toEqual(said);
  expect(bobs.answers.filter(({ rooms }) => rooms.join[home]?.timeline?.limited)).toEqual([]);
  expect(bobs.messages('peek', remote)).toEqual(spoken);
  expect(bobs.carriedOver).toBe(1);
  expect([...new Set(bobs.answers.slice(again).flatMap(roomsNamed))]).toEqual([home]);

  // What remains: an account, and what one homeserver knows of another that it has heard of.
  const after = tables();
  const reader = `@_peek_reader:${synapse.serverName}`;
  expect(speakOf(after, [remote, ...spoken])).toEqual([]);
  expect(speakOf(after, [a.serverName]).filter((table) => !OF_A_SERVER.has(table))).toEqual([]);
  expect(speakOf(after, ['_peek_']).filter((table) => !OF_AN_ACCOUNT.has(table))).toEqual([]);
  const column = (of: ReadonlyMap<string, readonly string[]>, table: string, count: number) =>
    of.get(table)?.map((line) => line.split(' | ', count).join(' '));
  for (const table of ['account_data', 'room_account_data', 'access_tokens', 'rooms', 'room_memberships']) {
    expect([table, column(after, table, 2)]).toEqual([table, column(before, table, 2)]);
  }
  expect(column(after, 'devices', 2)).toEqual(column(before, 'devices', 2));
  expect(column(after, 'users', 1)).toEqual([...(column(before, 'users', 1) ?? []), reader].toSorted());

  // The operator closes that account.
  const { token } = await registerOperator(synapse.url, synapse.url, 'operator');
  const closed = await send(synapse.url, 'POST', `/_synapse/admin/v1/deactivate/${enc(reader)}`, {
    token,
    body: { erase: true },
  });
  expect(closed).toMatchObject({ status: 200 });
  const account = await send(synapse.url, 'GET', `/_synapse/admin/v2/users/${enc(reader)}`, { token });
  expect(account.body).toMatchObject({ name: reader, deactivated: true });
});
