import { describe, expect, it, vi } from 'vitest';
import { IgnoredUsers, ignoredUsersChanged } from '../../../src/client-view/ignored-users.ts';
import { type Caller, HomeserverDown } from '../../../src/homeserver/homeserver.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const caller: Caller = { authorization: 'Bearer t', query: '', userAgent: null, forwardedFor: null };
const alice = { userId: '@alice:a.test', caller };
const BAD = '@bad:b.test';
const ignoring = (...users: string[]): JsonObject => ({
  ignored_users: Object.fromEntries(users.map((user) => [user, {}])),
});

function house(answer: (userId: string, type: string) => JsonObject | null | Promise<JsonObject | null>) {
  const clock = new ManualClock();
  const accountData = vi.fn(async (_caller: Caller, userId: string, type: string) => answer(userId, type));
  return { clock, accountData, ignored: new IgnoredUsers({ accountData }, clock) };
}

describe('the list', () => {
  it('is the homeserver’s, asked for with the user’s own credentials', async () => {
    const { ignored, accountData } = house(() => ignoring(BAD));
    const list = await ignored.of(alice);
    expect(list.ignores(BAD)).toBe(true);
    expect(list.ignores('@good:b.test')).toBe(false);
    expect(accountData).toHaveBeenCalledExactlyOnceWith(caller, '@alice:a.test', 'm.ignored_user_list');
  });

  it('hides what an ignored sender says, and no state of theirs', async () => {
    const list = await house(() => ignoring(BAD)).ignored.of(alice);
    expect(list.hides({ type: 'm.room.message', sender: BAD })).toBe(true);
    expect(list.hides({ type: 'm.room.topic', sender: BAD, state_key: '' })).toBe(false);
    expect(list.hides({ type: 'm.room.message', sender: '@good:b.test' })).toBe(false);
    expect(list.hides({ type: 'm.room.message' })).toBe(false);
  });

  it.each<[string, JsonObject | null]>([
    ['there is none', null],
    ['no ignored_users', {}],
    ['a list instead of an object', { ignored_users: [BAD] }],
    ['a string', { ignored_users: BAD }],
    ['the user alone', ignoring('@alice:a.test')],
  ])('%s ⇒ nobody is ignored', async (_, content) => {
    const list = await house(() => content).ignored.of(alice);
    expect(list.ignores(BAD)).toBe(false);
    expect(list.ignores('@alice:a.test')).toBe(false);
  });

  it('names of an object’s prototype are names like any other', async () => {
    const list = await house(() => ({ ignored_users: {} })).ignored.of(alice);
    expect(list.ignores('constructor')).toBe(false);
    expect(list.ignores('__proto__')).toBe(false);
  });
});

describe('asking', () => {
  it('a thousand reads of one user cost one question a minute', async () => {
    const { ignored, accountData, clock } = house(() => ignoring(BAD));
    await Promise.all(Array.from({ length: 1000 }, () => ignored.of(alice)));
    clock.jump(59_999);
    await ignored.of(alice);
    expect(accountData).toHaveBeenCalledTimes(1);
    clock.jump(1);
    await ignored.of(alice);
    expect(accountData).toHaveBeenCalledTimes(2);
  });

  it('users are kept apart', async () => {
    const { ignored } = house((userId) => (userId === alice.userId ? ignoring(BAD) : null));
    expect((await ignored.of(alice)).ignores(BAD)).toBe(true);
    expect((await ignored.of({ userId: '@bob:a.test', caller })).ignores(BAD)).toBe(false);
  });

  it('a homeserver that cannot be asked ⇒ nobody ignored, and asked again after five seconds', async () => {
    let down = true;
    const { ignored, accountData, clock } = house(() => {
      if (down) throw new HomeserverDown('down');
      return ignoring(BAD);
    });
    expect((await ignored.of(alice)).ignores(BAD)).toBe(false);
    down = false;
    await ignored.of(alice);
    expect(accountData).toHaveBeenCalledTimes(1);
    clock.jump(5_000);
    expect((await ignored.of(alice)).ignores(BAD)).toBe(true);
  });

  it('… or the list that was known last', async () => {
    let down = false;
    const { ignored, clock } = house(() => {
      if (down) throw new HomeserverDown('down');
      return ignoring(BAD);
    });
    await ignored.of(alice);
    down = true;
    clock.jump(3_600_000);
    expect((await ignored.of(alice)).ignores(BAD)).toBe(true);
  });

  it('one that takes its time ⇒ waited for two seconds', async () => {
    const { ignored, clock } = house(() => new Promise<never>(() => {}));
    const list = ignored.of(alice);
    let there = false;
    void list.then(() => {
      there = true;
    });
    await clock.advance(1_999);
    expect(there).toBe(false);
    await clock.advance(1);
    expect((await list).ignores(BAD)).toBe(false);
    expect(clock.pending).toBe(0);
  });
});

describe('a changed list', () => {
  it('is asked for again once it is forgotten, also when the question was under way', async () => {
    const answers = [ignoring(), ignoring(BAD)];
    let release = () => {};
    const { ignored } = house(async () => {
      const answer = answers.shift() ?? null;
      if (answers.length > 0) {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
      return answer;
    });
    const early = ignored.of(alice);
    await Promise.resolve();
    ignored.forget(alice.userId);
    expect((await ignored.of(alice)).ignores(BAD)).toBe(true);
    release();
    expect((await early).ignores(BAD)).toBe(false);
    expect((await ignored.of(alice)).ignores(BAD)).toBe(true);
  });

  it('is seen in the homeserver’s /sync answer', async () => {
    const { ignored, accountData } = house(() => ignoring(BAD));
    await ignored.of(alice);
    ignored.sawSync(alice.userId, Buffer.from('{"account_data":{"events":[{"type":"m.push_rules"}]}}'));
    await ignored.of(alice);
    expect(accountData).toHaveBeenCalledTimes(1);
    const changed = { account_data: { events: [{ type: 'm.ignored_user_list', content: ignoring() }] } };
    ignored.sawSync(alice.userId, Buffer.from(JSON.stringify(changed)));
    await ignored.of(alice);
    expect(accountData).toHaveBeenCalledTimes(2);
  });

  it.each([
    ['/_matrix/client/v3/user/@a:b/account_data/m.ignored_user_list', '@a:b'],
    ['/_matrix/client/r0/user/%40a%3Ab/account_data/m.ignored_user_list', '@a:b'],
    ['/_matrix/client/unstable/org.matrix.msc3391/user/@a:b/account_data/m.ignored_user_list', '@a:b'],
    ['/_matrix/client/v3/user/%ff/account_data/m.ignored_user_list', null],
    ['/_matrix/client/v3/user/@a:b/account_data/m.direct', null],
    ['/_matrix/client/v3/user/@a:b/rooms/!r/account_data/m.ignored_user_list', null],
  ])('%s is of %s', (path, userId) => {
    expect(ignoredUsersChanged(path)).toBe(userId);
  });
});
