import { once } from 'node:events';
import { connect } from 'node:net';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { signRequest } from '../../../src/matrix/x-matrix.ts';
import type { KeyRing } from '../../../src/remote-servers/remote-servers.ts';
import { PEER, type PeekingHouse } from '../../support/peeking-house.ts';
import { keyOf, type RoomBuilder } from '../../support/room-builder.ts';
import { type Forwarded, TapHouse, transaction, WAIT } from './tap-house.ts';

let tap: TapHouse;
let house: PeekingHouse;
let room: RoomBuilder;
let forwarded: Forwarded[];

beforeEach(async () => {
  tap = await TapHouse.open();
  ({ house, room, forwarded } = tap);
});

describe('a body that may not be held', () => {
  const target = '/_matrix/federation/v1/send/held';
  const authorization = `X-Matrix origin="${PEER}",destination="here.test",key="ed25519:a",sig="${'A'.repeat(86)}"`;

  /** A transaction whose length is not said. */
  function inChunks(content: JsonObject) {
    const about = { method: 'PUT', uri: target, origin: PEER, destination: 'here.test', content };
    const bytes = Buffer.from(JSON.stringify(content));
    const body = new ReadableStream<Uint8Array>({
      start(stream) {
        for (let at = 0; at < bytes.length; at += 65_536) stream.enqueue(bytes.subarray(at, at + 65_536));
        stream.close();
      },
    });
    const headers = { authorization: signRequest(about, keyOf(PEER)) };
    return fetch(tap.origin + target, { method: 'PUT', headers, body, duplex: 'half' } as RequestInit);
  }

  test('in chunks ⇒ read as any other; goes to the homeserver whole and unread where it becomes too large for us', async () => {
    const { eventId, pdu } = room.message('in chunks');
    const answer = await inChunks(transaction([pdu, 'x'.repeat(200_000)]));
    expect(await answer.json()).toEqual({ pdus: { [eventId]: {} } });
    expect(forwarded).toEqual([]);
    const large = transaction(['x'.repeat(5 * 1024 * 1024)]);
    expect(await (await inChunks(large)).json()).toEqual({ pdus: { by: 'homeserver' } });
    expect(forwarded[0]?.body === JSON.stringify(large)).toBe(true);
  });

  test('too large for a transaction ⇒ goes to the homeserver unread, whose answer stands', async () => {
    const body = `"${'x'.repeat(4 * 1024 * 1024)}"`;
    const response = await fetch(tap.origin + target, { method: 'PUT', headers: { authorization }, body });
    expect(await response.json()).toEqual({ pdus: { by: 'homeserver' } });
    expect(forwarded[0]?.body === body).toBe(true);
  });

  test('endless drip ⇒ 408 after a minute, and the connection is closed', async () => {
    const socket = connect(Number(new URL(tap.origin).port), '127.0.0.1');
    const received: Buffer[] = [];
    socket.on('data', (chunk) => received.push(chunk));
    socket.write(
      `PUT ${target} HTTP/1.1\r\nHost: here.test\r\nAuthorization: ${authorization}\r\nContent-Length: 100\r\n\r\n{`,
    );
    await vi.waitFor(() => expect(house.clock.pending).toBeGreaterThan(0), WAIT);
    await house.clock.advance(60_000);
    await once(socket, 'close');
    const answer = Buffer.concat(received).toString();
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('M_UNKNOWN');
    expect(forwarded).toEqual([]);
  });

  test('trickling under a server’s name, as much as may be held ⇒ keeps that server from nothing', async () => {
    const bodies = Array.from({ length: 6 }, (_, i) => {
      const socket = connect(Number(new URL(tap.origin).port), '127.0.0.1');
      socket.write(
        `PUT ${target}${i} HTTP/1.1\r\nHost: here.test\r\nAuthorization: ${authorization}\r\nContent-Length: 4000000\r\n\r\n{`,
      );
      return socket;
    });
    await vi.waitFor(() => expect(house.clock.pending).toBeGreaterThanOrEqual(4), WAIT);
    for (let i = 0; i < 5; i++) {
      expect(
        await tap.send(transaction([room.message(`small ${i}`).pdu, ...Array(20).fill('x'.repeat(50_000))])),
      ).toMatchObject({
        status: 200,
      });
    }
    expect((await tap.log()).slice(-5)).toEqual([0, 1, 2, 3, 4].map((i) => `small ${i}`));
    expect(forwarded).toEqual([]);
    for (const socket of bodies) socket.destroy();
  });

  test('under a server’s name, signed by a key that is looked up for long ⇒ likewise, and told to come again', async () => {
    const { publicKey } = house.keys;
    const slow: KeyRing['publicKey'] = (server, keyId, _at, _use, signal) =>
      keyId === 'ed25519:a'
        ? new Promise((resolve) => signal?.addEventListener('abort', () => resolve(null), { once: true }))
        : publicKey.call(house.keys, server, keyId);
    Object.assign(house.keys, { publicKey: slow });
    const body = JSON.stringify({ pdus: [], padding: 'x'.repeat(4_000_000) });
    const claimed = Array.from({ length: 5 }, (_, i) =>
      fetch(`${tap.origin}${target}${i}`, { method: 'PUT', headers: { authorization }, body }).catch(
        () => null,
      ),
    );
    expect((await Promise.race(claimed))?.status).toBe(429);
    expect(await tap.send(transaction([room.message('small').pdu, 'x'.repeat(1_000_000)]))).toMatchObject({
      status: 200,
    });
    expect((await tap.log()).at(-1)).toBe('small');
    expect(forwarded).toEqual([]);
  });
});
