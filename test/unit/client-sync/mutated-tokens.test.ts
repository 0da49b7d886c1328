import { expect, test } from 'vitest';
import { deviceHash } from '../../../src/client-sync/peek-part.ts';
import { unwrapToken, wrapToken } from '../../../src/client-sync/sync-token.ts';
import { ALICE, brief } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { SyncHouse } from '../../support/sync-house.ts';

const TOKEN = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const BOB = { ...ALICE, userId: '@bob:here.test', caller: { ...ALICE.caller, authorization: 'Bearer bob' } };
const NEW = Array.from({ length: 10 }, (_, n) => `new ${n}`);

/** Alice and Bob peek into rooms of their own and into one of both, with ten messages since their tokens. */
async function setUp(mode: 'ninth-field' | 'suffix') {
  const sync = await SyncHouse.open();
  const { house } = sync;
  sync.tokenMode = mode;
  house.homeserver.identities.set('Bearer bob', BOB);
  const rooms = ['alices', 'bobs', 'both'].map((name) =>
    house.resident(new RoomBuilder('10', 'there.test', name)),
  );
  const [alices, bobs, both] = rooms.map(({ roomId }) => roomId) as [string, string, string];
  for (const room of rooms) for (let n = 0; n < 5; n++) room.message(`old ${n}`);
  for (const roomId of [alices, both]) await house.peek(roomId);
  for (const roomId of [bobs, both]) await house.peek(roomId, BOB);
  sync.script = ({ answer }) => answer({ next_batch: TOKEN });
  const since = (await sync.sync()).body.next_batch;
  const bobsSince = (await sync.sync({}, 'bob')).body.next_batch;
  for (const room of rooms) for (const text of NEW) room.message(text);
  await house.settle();
  return { sync, own: [alices, both], since, bobsSince };
}

test.each(['ninth-field', 'suffix'] as const)(
  'mutated tokens never fail a sync, nor show another device’s peeks or an event twice (%s)',
  async (mode) => {
    const { sync, own, since, bobsSince } = await setUp(mode);
    const random = seededRandom(2026);
    const ours = unwrapToken(since).ours ?? { device: '', peeks: new Map<number, number>() };
    const digits = '0123456789';
    const mutations: (() => string)[] = [
      () => bobsSince,
      () => {
        const at = TOKEN.length - 12 + random.below(since.length - TOKEN.length);
        return since.slice(0, at) + digits[random.below(10)] + since.slice(at + 1);
      },
      () => since.slice(0, TOKEN.length + random.below(since.length - TOKEN.length)),
      () => since.replace(/[0-9]{20,}/, (part) => part + '7'.repeat(random.below(300))),
      () => `${since}${'ä\u0000 %😀'[random.below(5)]}`,
      // Forged ones that are whole: positions and instances of the device's own, and of nobody's.
      () => {
        const peeks = [...ours.peeks].map(
          ([instance, at]) => [instance + random.below(2), Math.max(0, at + random.below(40) - 20)] as const,
        );
        return wrapToken(TOKEN, { device: ours.device, peeks: new Map(peeks) }, mode);
      },
      () => wrapToken(TOKEN, { device: deviceHash('@eve:here.test', 'PHONE'), peeks: ours.peeks }, mode),
      () => wrapToken(TOKEN, { device: ours.device, peeks: new Map([[1, 2 ** 52]]) }, mode),
    ];
    for (let n = 0; n < 120; n++) {
      const token = mutations[n % mutations.length]?.() ?? '';
      const told = new Map<string, string[]>();
      let at = token;
      // A first section is repeated as it was, and goes on where it ended: two answers, and then there is no more.
      for (let step = 0; step < 3; step++) {
        const answer = await sync.sync({ since: at, timeout: (n + step) % 2 === 0 ? '0' : '1' });
        expect([token, answer.status]).toEqual([token, 200]);
        const peeked = Object.entries(answer.body.rooms?.peek ?? {});
        if (step === 2) expect([token, peeked]).toEqual([token, []]);
        for (const [roomId, section] of peeked) {
          expect(own).toContain(roomId);
          told.set(roomId, [...(told.get(roomId) ?? []), ...(brief(section)?.timeline ?? [])]);
        }
        at = answer.body.next_batch;
      }
      for (const timeline of told.values()) {
        expect(new Set(timeline).size).toBe(timeline.length);
        const messages = timeline.filter((text) => text.startsWith('new'));
        expect(messages).toEqual(NEW.slice(NEW.length - messages.length));
      }
    }
  },
);
