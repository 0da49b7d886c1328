import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Pdu } from '../../../src/matrix/pdu.ts';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { HOUR, House, PEER, ROOM } from './house.ts';

const user = fc.constantFrom(`@a:${PEER}`, `@b:${PEER}`);
const membership = fc.constantFrom('join', 'join', 'leave', 'leave', 'invite');
const step = fc.oneof(
  fc.record({ do: fc.constant('say' as const), count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constant('member' as const), user, membership }),
  fc.record({ do: fc.constant('feed' as const), count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 90_000 }) }),
  fc.record({ do: fc.constant('fail' as const), times: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ do: fc.constant('restart' as const) }),
);
type Said = { readonly name: string; readonly user: string | null; readonly membership: string };

/** A homeserver whose room goes on before its log does. Its events have the IDs that they will have in the log. */
class Stream {
  readonly said: Said[] = [];
  readonly #first: readonly string[];
  fed = 0;

  constructor(house: House, first: readonly string[]) {
    this.#first = first;
    house.homeserver.currentState = async () => this.#state(this.said.length);
    house.homeserver.stateBefore = async (_, eventId) => {
      return { state: this.#state(Number(eventId.slice(1))), authChain: [] };
    };
  }

  #state(length: number): Pdu[] {
    return [...this.#joinedBefore(length)].map((userId) => ({
      ...{ type: 'm.room.member', state_key: userId, content: { membership: 'join' } },
      ...{ sender: userId, depth: 1, origin_server_ts: 1 },
    }));
  }

  #joinedBefore(length: number): Set<string> {
    const joined = new Set(this.#first);
    for (const each of this.said.slice(0, length)) {
      if (each.user === null) continue;
      if (each.membership === 'join') joined.add(each.user);
      else joined.delete(each.user);
    }
    return joined;
  }

  say(userId: string | null, value: string): void {
    this.said.push({ name: `t${this.said.length}`, user: userId, membership: value });
  }

  /** Who is joined is not invited. */
  change(userId: string, value: string): void {
    const isJoined = this.#joinedBefore(this.said.length).has(userId);
    if (value !== 'invite' || !isJoined) this.say(userId, value);
  }

  /** What the homeserver does not send to a server without members: all that is ours to send. */
  get owed(): string[] {
    const ours = ({ membership }: Said, i: number) =>
      membership !== 'join' && this.#joinedBefore(i).size === 0;
    return this.said.filter(ours).map(({ name }) => name);
  }

  async feed(house: House, count: number): Promise<void> {
    const next = this.said.slice(this.fed, this.fed + count);
    this.fed += next.length;
    const events = next.map(({ name, user: userId, membership: value }) =>
      userId === null
        ? { type: name, content: {} }
        : { type: 'm.room.member', state_key: userId, content: { membership: value, name } },
    );
    if (events.length > 0) await house.append(ROOM, events);
  }
}

test('whoever joins and leaves, and however late the log is: what the homeserver does not send arrives, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(step, { minLength: 5, maxLength: 25, size: 'max' }),
      async (isThere, steps) => {
        const house = await House.open();
        await house.put();
        const stream = new Stream(house, isThere ? [`@a:${PEER}`] : []);
        const arrived = new Set<string>();
        let failing = 0;
        house.servers.answer = (server, sent) => {
          if (failing-- > 0) throw new RemoteUnreachable(server);
          for (const { type, content } of sent.pdus) {
            const named = (content as { name?: string }).name;
            arrived.add(named ?? String(type));
          }
          return {};
        };
        let peeks = house.peeks;
        for (const each of steps) {
          if (each.do === 'say') {
            for (let i = 0; i < each.count; i++) stream.say(null, '');
          } else if (each.do === 'member') {
            stream.change(each.user, each.membership);
          } else if (each.do === 'feed') {
            await stream.feed(house, each.count);
            await house.settle();
          } else if (each.do === 'wait') await house.settle(each.ms);
          else if (each.do === 'fail') failing = each.times;
          else {
            await peeks.stop();
            peeks = house.another();
            await peeks.start();
          }
        }
        await stream.feed(house, stream.said.length);
        await house.settle(HOUR);
        await peeks.stop();
        const owed = new Set(stream.owed);
        expect([...arrived].filter((name) => owed.has(name))).toEqual([...owed]);
      },
    ),
    { numRuns: 40 },
  );
});
