import { describe, expect, it } from 'vitest';
import { type Caller, HomeserverDown, HomeserverRefusal } from '../../../src/homeserver/homeserver.ts';
import { withoutIdentity } from '../../../src/homeserver/identity.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import { type Scripted, scriptedHomeserver } from './scripted-homeserver.ts';

function caller(token: string, query = ''): Caller {
  return { authorization: `Bearer ${token}`, query, userAgent: null, forwardedFor: null };
}

function answering(answer: () => Scripted) {
  return scriptedHomeserver((path) => (path.includes('/whoami') ? answer() : undefined), null);
}

const ALICE: Scripted = [200, { user_id: '@alice:a.test', device_id: 'D', is_guest: false }];

describe('whoami', () => {
  it('a thousand callers with one token cost one request', async () => {
    const { homeserver, requests } = answering(() => ALICE);
    await Promise.all(Array.from({ length: 1000 }, () => homeserver.whoami(caller('t'))));
    expect(requests).toHaveLength(1);
  });

  it('guest/deactivated/revoked token ⇒ within cache TTL: asked again after a minute', async () => {
    let answer = ALICE;
    const { homeserver, clock } = answering(() => answer);
    await homeserver.whoami(caller('t'));
    answer = [401, { errcode: 'M_UNKNOWN_TOKEN' }];
    clock.jump(59_999);
    expect((await homeserver.whoami(caller('t'))).userId).toBe('@alice:a.test');
    clock.jump(1);
    expect(homeserver.remembered(caller('t'))).toBeNull();
    await expect(homeserver.whoami(caller('t'))).rejects.toThrow(HomeserverRefusal);
  });

  it('keeps callers apart: other token, other user of an appservice, other device', async () => {
    const { homeserver, requests } = answering(() => ALICE);
    const callers = [
      caller('t'),
      caller('u'),
      caller('t', 'user_id=%40a%3Aa.test'),
      caller('t', 'user_id=%40b%3Aa.test'),
      caller('t', 'device_id=X'),
      caller('t', 'device%5Fid=Y'),
      caller('t', 'access_token=other'),
    ];
    for (const one of callers) await homeserver.whoami(one);
    expect(requests).toHaveLength(callers.length);
    expect(requests.map(({ path }) => path.split('?')[1])).toContain('device%5Fid=Y');
  });

  it('what else is in the query is neither sent nor told apart', async () => {
    const { homeserver, requests } = answering(() => ALICE);
    await homeserver.whoami(caller('t', 'since=s1&timeout=30000'));
    await homeserver.whoami(caller('t', 'since=s2&%E0%A4=1'));
    expect(requests.map(({ path }) => path)).toEqual(['/_matrix/client/v3/account/whoami']);
  });

  it('the address of the client goes with a protocol: without one the homeserver warns of each request', async () => {
    const { homeserver, requests } = answering(() => ALICE);
    await homeserver.whoami({ ...caller('t'), forwardedFor: '192.0.2.7' });
    await homeserver.whoami(caller('u'));
    expect(requests.map(({ headers }) => headers)).toEqual([
      { authorization: 'Bearer t', 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'https' },
      { authorization: 'Bearer u' },
    ]);
  });

  it('a refusal comes back as it was, and is not remembered', async () => {
    let answer: Scripted = [401, { errcode: 'M_UNKNOWN_TOKEN', soft_logout: true }];
    const { homeserver } = answering(() => answer);
    const refusal = await homeserver.whoami(caller('t')).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ status: 401 });
    expect(JSON.parse((refusal as HomeserverRefusal).body.toString())).toEqual(answer[1]);
    answer = ALICE;
    expect((await homeserver.whoami(caller('t'))).deviceId).toBe('D');
  });

  it.each<[string, Scripted]>([
    ['503 of the authentication service', [503, {}]],
    ['HTML', [200, '<html>']],
    ['no user', [200, {}]],
    ['a user that is no string', [200, { user_id: 7 }]],
  ])('%s: the homeserver is down', async (_, answer) => {
    await expect(answering(() => answer).homeserver.whoami(caller('t'))).rejects.toThrow(HomeserverDown);
  });
});

describe('what says who is calling after a `;`, where Synapse looks too', () => {
  it('is what the homeserver is asked with, and tells callers apart', async () => {
    const { homeserver, requests } = answering(() => ALICE);
    await homeserver.whoami(caller('t', 'since=s1&x;access_token=one'));
    await homeserver.whoami(caller('t', 'since=s1&x;access_token=two'));
    expect(requests.map(({ path }) => path.split('?')[1])).toEqual([
      'x;access_token=one',
      'x;access_token=two',
    ]);
  });

  it.each([
    ['/a?x;user_id=@b:a.test', '/a?x'],
    ['/a?user%5Fid=@b:a.test;dir=b&limit=1;;y', '/a?dir=b&limit=1;;y'],
    ['/a?access_token=t;device_id=D', '/a'],
    ['/a?from=1;2&to=3', '/a?from=1;2&to=3'],
  ])('does not get into a request that is made as somebody else: %s', (target, without) => {
    expect(withoutIdentity(target)).toBe(without);
  });
});

describe('stored filters', () => {
  it('are asked for once for each user and ID', async () => {
    const { homeserver, requests } = scriptedHomeserver(() => [200, { room: {} }], null);
    const read = (user: string, id: string) => homeserver.filter(caller('t'), user, id);
    await read('@a:a.test', '1');
    await read('@a:a.test', '1');
    await read('@b:a.test', '1');
    await read('@a:a.test', '2/..');
    expect(requests).toHaveLength(3);
    expect(requests[2]?.path).toBe('/_matrix/client/v3/user/%40a%3Aa.test/filter/2%2F..');
  });

  it('a very long one is not kept', async () => {
    const long = { room: { rooms: Array.from({ length: 2000 }, (_, i) => `!${i}:a.test`) } };
    const { homeserver, requests } = scriptedHomeserver(() => [200, long], null);
    await homeserver.filter(caller('t'), '@a:a.test', '1');
    await homeserver.filter(caller('t'), '@a:a.test', '1');
    expect(requests).toHaveLength(2);
  });
});

describe('what is asked for while somebody waits', () => {
  it('is read no further than 1 MiB: a larger filter cannot be had, as a homeserver that is down', async () => {
    const { homeserver, requests } = scriptedHomeserver(() => new HttpError('too_large', 'more'), null);
    await expect(homeserver.filter(caller('t'), '@a:a.test', '1')).rejects.toThrow(HomeserverDown);
    expect(requests[0]).toMatchObject({ maxBytes: 1024 * 1024 });
  });
});

describe('account data', () => {
  it('is asked for in the user’s name; null where there is none', async () => {
    let answer: Scripted = [200, { ignored_users: {} }];
    const { homeserver, requests } = scriptedHomeserver(() => answer, null);
    const read = () => homeserver.accountData(caller('t', 'user_id=x'), '@a:a.test', 'm.type');
    expect(await read()).toEqual({ ignored_users: {} });
    const [request] = requests;
    expect(request?.path).toBe('/_matrix/client/v3/user/%40a%3Aa.test/account_data/m.type?user_id=x');
    expect(request?.headers).toMatchObject({ authorization: 'Bearer t' });
    answer = [404, { errcode: 'M_NOT_FOUND' }];
    expect(await read()).toBeNull();
    answer = [403, { errcode: 'M_FORBIDDEN' }];
    await expect(read()).rejects.toThrow(HomeserverRefusal);
  });
});

describe('aliases', () => {
  it.each<[string, Scripted, unknown]>([
    ['404', [404, {}], null],
    ['400', [400, {}], null],
    ['an answer without a room', [200, {}], null],
    ['odd servers', [200, { room_id: '!r', servers: ['b', 7] }], { roomId: '!r', servers: ['b'] }],
    ['no servers', [200, { room_id: '!r' }], { roomId: '!r', servers: [] }],
  ])('%s', async (_, answer, resolved) => {
    const { homeserver } = scriptedHomeserver(() => answer, null);
    expect(await homeserver.resolveAlias('#x:b.test')).toEqual(resolved);
  });

  it('a failing server of the alias is not our homeserver being down', async () => {
    const { homeserver } = scriptedHomeserver(() => [502, { errcode: 'M_UNKNOWN' }], null);
    await expect(homeserver.resolveAlias('#x:b.test')).rejects.toThrow(HomeserverRefusal);
    const proxy = scriptedHomeserver(() => [502, '<html>'], null).homeserver;
    await expect(proxy.resolveAlias('#x:b.test')).rejects.toThrow(HomeserverDown);
  });
});

describe('the notary', () => {
  it('is asked for the key by its ID and time, and odd entries are left out', async () => {
    const { homeserver, requests } = scriptedHomeserver(() => [200, { server_keys: [{ a: 1 }, 7] }], null);
    expect(await homeserver.notaryKeys('__proto__', 'ed25519:x', 5)).toEqual([{ a: 1 }]);
    expect(String(requests[0]?.body)).toBe(
      '{"server_keys":{"__proto__":{"ed25519:x":{"minimum_valid_until_ts":5}}}}',
    );
  });
});
