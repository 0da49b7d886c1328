import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { enc, type MatrixClient } from '../support/client.ts';
import { type Pair, type Site, startPair } from '../support/federation.ts';
import { type Answer, type Json, send } from '../support/http.ts';
import { newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { until } from './until.ts';

/** All that the proxies can be made to say. */
const PROXY_ENV = { PEEK_LOG_LEVEL: 'trace' };

let pair: Pair;
beforeAll(async () => {
  pair = await startPair({ store: 'sqlite', a: { proxyEnv: PROXY_ENV }, b: { proxyEnv: PROXY_ENV } });
});
afterAll(() => pair?.stop());

/** What a site's proxy must never write down of its homeserver. */
async function secretsOf({ proxyOptions }: Site): Promise<string[]> {
  const registration = parse(await readFile(proxyOptions.registrationPath ?? '', 'utf8')) as Json;
  const keys = (await readFile(proxyOptions.signingKeyPath, 'utf8')).trim().split('\n');
  const seeds = keys.map((line) => line.split(' ').at(-1));
  return [registration.as_token, registration.hs_token, ...seeds].map(String);
}

const linesOf = async ({ proxy }: Site) =>
  (await readFile(proxy.log, 'utf8'))
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Json);

it('No access token, sync token or key is in the logs; own requests carry a request ID', async () => {
  const tokens = new Set<string>();
  const seen = (client: MatrixClient, ...sync: string[]) => {
    for (const token of [client.token, ...sync]) tokens.add(token);
  };
  const alice = await newUser(pair.a, 'alice');
  const roomId = await alice.createWorldReadableRoom();
  const hidden = await alice.createRoom();
  const answers: { site: Site; path: string; answer: Answer }[] = [];

  for (const site of [pair.a, pair.b]) {
    const bob = await newUser(site, 'bob');
    const { follower, first } = await startFollowing(bob, roomId, [pair.a.serverName]);
    seen(bob, first.next_batch);
    await follower.untilEvent(await alice.sendText(roomId, 'hello'));
    seen(bob, follower.since);
    const ask = async (method: string, path: string, token: string, query = '') => {
      const target = `/_matrix/client${path}?access_token=${enc(token)}${query}`;
      const answer = await send(site.url, method, target, method === 'POST' ? { body: {} } : {});
      answers.push({ site, path: `/_matrix/client${path}`, answer });
      return answer;
    };
    const via = `&server_name=${enc(pair.a.serverName)}`;
    // Well and badly, with the token in the query too, where a careless log has it.
    await ask('POST', `/v3/peek/${enc(roomId)}`, bob.token, via);
    await ask('POST', `/v3/peek/${enc(hidden)}`, bob.token, via);
    await ask('POST', `/v3/peek/${enc(`!nowhere:localhost:1`)}`, bob.token);
    await ask('POST', `/v3/peek/${enc(roomId)}`, 'a-token-that-nobody-has', via);
    tokens.add('a-token-that-nobody-has');
    await ask('POST', `/v3/rooms/${enc(roomId)}/unpeek`, bob.token);
    const sync = `/_matrix/client/v3/sync?access_token=${enc(bob.token)}`;
    await send(site.url, 'GET', `${sync}&since=${enc(follower.since)}&timeout=100`);
    await send(site.url, 'GET', `${sync}&since=nonsense`);
    const again = await startFollowing(bob, roomId, [pair.a.serverName]);
    seen(bob, again.first.next_batch);
  }
  seen(alice, (await alice.sync()).next_batch);

  // Failures say more than what goes well.
  const waiting = pair.a.synapse.stop();
  for (const token of [...tokens].slice(0, 2)) {
    await send(pair.a.url, 'GET', `/_matrix/client/v3/sync?access_token=${enc(token)}`);
    await send(pair.a.url, 'POST', `/_matrix/client/v3/peek/${enc(roomId)}?access_token=${enc(token)}`);
  }
  await waiting;
  await until('a feed has failed', async () => {
    const { homeserver } = await pair.a.proxy.health();
    return (homeserver as Json).reachable === false;
  });
  await pair.a.synapse.restart();

  const secrets = [...tokens, ...(await secretsOf(pair.a)), ...(await secretsOf(pair.b))];
  expect(secrets.length).toBeGreaterThanOrEqual(6 + 3 + 3);
  for (const site of [pair.a, pair.b]) {
    const log = await readFile(site.proxy.log, 'utf8');
    // What the logs do have is found by the same look.
    expect(log).toContain(enc(roomId));
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(4);
      for (const form of [secret, enc(secret)])
        expect(log.includes(form) ? [site.proxy.log, form] : []).toEqual([]);
    }
  }

  const answered = new Map([pair.a, pair.b].map((site) => [site, linesOf(site)]));
  for (const { site, path, answer } of answers) {
    const id = answer.headers['x-request-id'];
    expect(id).toMatch(/^[0-9A-Za-z]{10}$/);
    const lines = (await answered.get(site))?.filter(({ req }) => req === id);
    expect(lines).toMatchObject([{ path, status: answer.status }]);
    if (answer.status === 200)
      expect(lines).toMatchObject([{ user: expect.stringMatching(/^@bob/), room: roomId }]);
  }
  // B has peeked into A's room with requests of its own, which A has answered.
  const ofServers = ((await answered.get(pair.a)) ?? []).filter(
    ({ path }) => typeof path === 'string' && path.startsWith(`/_matrix/federation/v1/peek/${enc(roomId)}/`),
  );
  expect(ofServers.map(({ method }) => method)).toEqual(expect.arrayContaining(['PUT', 'DELETE']));
  for (const line of ofServers) {
    expect(line).toMatchObject({ req: expect.stringMatching(/^[0-9A-Za-z]{10}$/) });
    if (line.status === 200) expect(line).toMatchObject({ server: pair.b.serverName, room: roomId });
  }
  const ids = (await answered.get(pair.a))?.map(({ req }) => req).filter((req) => req !== undefined) ?? [];
  expect(new Set(ids).size).toBe(ids.length);
});
