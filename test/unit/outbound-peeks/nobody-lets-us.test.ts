import { describe, expect, test, vi } from 'vitest';
import { RemoteUnreachable } from '../../../src/remote-servers/remote-servers.ts';
import { ALICE, PEER, PeekingHouse } from '../../support/peeking-house.ts';
import { RoomBuilder } from '../../support/room-builder.ts';
import { down, MINUTE, OTHER, pass, peekedRoom, through } from './living.ts';

/** The server's proxy is taken out: what stands behind it knows nothing of peeks. */
function unproxied(house: PeekingHouse, server: string): void {
  for (const method of ['PUT', 'POST', 'DELETE', 'GET']) {
    house.remote.refuse(server, method, '/peek/', 404, 'M_UNRECOGNIZED');
  }
}

const shown = (house: PeekingHouse, room: RoomBuilder) =>
  house.outbound.rooms(10).find((one) => one.room === room.roomId)?.through;

describe('a room that nobody lets us peek any more', () => {
  test('its server’s proxy was taken out ⇒ it fails, though the server answers, until somebody lets us', async () => {
    const { house, room } = await peekedRoom();
    unproxied(house, PEER);
    await pass(house, 4 * MINUTE);
    expect(house.outbound.failing).toBe(0);
    expect(shown(house, room)).toMatchObject([{ failing: false, renewal: expect.any(String) }]);
    for (let passed = 0; passed < 60; passed += 2) {
      await pass(house, 2 * MINUTE);
      // It fails without a break, or nobody would ever be alarmed.
      if (passed > 2) expect(house.outbound.failing).toBe(1);
    }
    expect(shown(house, room)).toMatchObject([{ server: PEER, failing: true, reason: 'does not let us' }]);
    expect(await through(house, room)).toEqual([PEER]);
    house.remoteRoom(room);
    await pass(house, 11 * MINUTE);
    expect(house.outbound.failing).toBe(0);
    expect(shown(house, room)?.[0]).not.toHaveProperty('again');
  });

  test('is shown with the time at which it is asked for again, and asked for then, not before', async () => {
    const { house, room } = await peekedRoom();
    unproxied(house, PEER);
    await pass(house, 20 * MINUTE);
    const [server] = shown(house, room) ?? [];
    expect(server?.renewal).toBeNull();
    const again = Date.parse(server?.again ?? '');
    const left = again - house.clock.now();
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(10 * MINUTE);
    const before = house.remote.sent('PUT').length;
    await pass(house, left - 1);
    expect(house.remote.sent('PUT')).toHaveLength(before);
    await pass(house, MINUTE);
    expect(house.remote.sent('PUT')).toHaveLength(before + 1);
  });

  test('another candidate lets us ⇒ it does not fail', async () => {
    const { house, room } = await peekedRoom([], [PEER, OTHER]);
    house.remoteRoom(room, OTHER);
    unproxied(house, PEER);
    await pass(house, 10 * MINUTE);
    expect(house.outbound.failing).toBe(0);
    expect(await through(house, room)).toEqual([OTHER]);
  });

  test('since its server does not answer ⇒ that is said', async () => {
    const { house, room } = await peekedRoom();
    down(house, PEER);
    await pass(house, 20 * MINUTE);
    expect(shown(house, room)).toMatchObject([{ failing: true, reason: 'does not answer' }]);
  });

  test('through two servers: it fails when neither lets us, and not while one does', async () => {
    const { house, room } = await peekedRoom([`@resident:${OTHER}`], [PEER, OTHER], { serversPerRoom: 2 });
    house.remoteRoom(room, OTHER);
    await pass(house, 2 * MINUTE);
    expect((await through(house, room)).toSorted()).toEqual([OTHER, PEER].toSorted());
    unproxied(house, PEER);
    await pass(house, 20 * MINUTE);
    expect(house.outbound.failing).toBe(0);
    unproxied(house, OTHER);
    await pass(house, 120 * MINUTE);
    expect(house.outbound.failing).toBe(1);
  });
});

test('a certificate that nobody vouches for ⇒ advice in the log, none for the client', async () => {
  const house = await PeekingHouse.open();
  const room = house.remoteRoom(new RoomBuilder());
  const cause = Object.assign(new Error('in the words of TLS'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  const unreachable = new RemoteUnreachable(`${PEER}: its certificate is self-signed`, { cause });
  for (const method of ['PUT', 'GET']) house.remote.on(PEER, method, '/peek/', unreachable);
  const info = vi.spyOn(house.logger, 'info');
  const refusal = await house.peek(room.roomId, ALICE).catch((error: Error) => error);
  expect(String(refusal)).toMatch(/\(there\.test: its certificate is self-signed\)$/);
  const [about] = info.mock.calls.find(([, text]) => text === 'a server could not be peeked through') ?? [];
  expect(about).toMatchObject({ server: PEER, advice: expect.stringContaining('PEEK_FEDERATION_CA_PATH') });
});
