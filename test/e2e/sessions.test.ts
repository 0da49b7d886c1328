import { afterAll, beforeAll, expect, it } from 'vitest';
import { enc, type MatrixClient } from '../support/client.ts';
import { send } from '../support/http.ts';
import { furtherDevice, newUser } from './accounts.ts';
import { startFollowing } from './follower.ts';
import { peekCounts } from './metrics.ts';
import { onStore, type StoredSite } from './stores.ts';

onStore('SQLite', ({ startSiteOnStore }) => {
  let site: StoredSite;
  let alice: MatrixClient;
  let roomId: string;
  beforeAll(async () => {
    site = await startSiteOnStore();
    alice = await newUser(site, 'alice');
    roomId = await alice.createWorldReadableRoom();
  });
  afterAll(() => site?.stop());

  /** What the homeserver itself says to this token; the proxy says the same, wherever it is asked. */
  async function expectOwnRefusal(dead: MatrixClient, since: string): Promise<void> {
    const ask = (url: string, method: string, path: string) =>
      send(url, method, `/_matrix/client${path}`, {
        token: dead.token,
        ...(method === 'POST' && { body: {} }),
      });
    const own = await ask(site.synapse.url, 'GET', '/v3/account/whoami');
    expect(own).toMatchObject({ status: 401, body: { errcode: 'M_UNKNOWN_TOKEN' } });
    const before = await peekCounts(site);
    for (const [method, path] of [
      ['POST', `/v3/peek/${enc(roomId)}`],
      ['POST', `/v3/rooms/${enc(roomId)}/unpeek`],
      ['GET', '/v3/sync'],
      ['GET', `/v3/sync?timeout=2000&since=${enc(since)}`],
      ['GET', '/v3/account/whoami'],
    ] as const) {
      const answer = await ask(site.url, method, path);
      expect([path, answer.status, answer.text]).toEqual([path, 401, own.text]);
    }
    expect(await peekCounts(site)).toEqual(before);
  }

  it("After /logout through the proxy the dead token gets the homeserver's own 401 on /peek and /sync", async () => {
    const [peeker, other] = [await newUser(site, 'bob'), await newUser(site, 'carol')];
    const { follower } = await startFollowing(peeker, roomId);
    const { next_batch } = await other.sync();
    await peeker.require('POST', '/v3/logout', {});
    await expectOwnRefusal(peeker, follower.since);
    await other.require('POST', '/v3/logout', {});
    await expectOwnRefusal(other, next_batch);
  });

  it("After /logout/all the tokens of the user's other devices get it too", async () => {
    const phone = await newUser(site, 'dave');
    const tablet = await furtherDevice(phone);
    const { follower } = await startFollowing(tablet, roomId);
    await phone.require('POST', '/v3/logout/all', {});
    await expectOwnRefusal(tablet, follower.since);
  });

  it('After a logout that the proxy did not see, a peeking device is refused all the same', async () => {
    const erin = await newUser(site, 'erin');
    const { follower } = await startFollowing(erin, roomId);
    await send(site.synapse.url, 'POST', '/_matrix/client/v3/logout', { token: erin.token, body: {} });
    await expectOwnRefusal(erin, follower.since);
  });
});
