import { createServer, type ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { HomeserverDown, HomeserverRefusal, NotReadable } from '../../../src/homeserver/homeserver.ts';
import { HomeserverApi, homeserverHttp } from '../../../src/homeserver/homeserver-api.ts';
import { SelfFederation } from '../../../src/homeserver/self-federation.ts';
import { verifySignature } from '../../../src/matrix/ed25519.ts';
import { parseXMatrix, requestToVerify } from '../../../src/matrix/x-matrix.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { KEY, rawEvent, type Scripted, SERVER, scriptedHomeserver } from './scripted-homeserver.ts';

const ROOM = `!room:${SERVER}`;

function answering(answer: Scripted) {
  return scriptedHomeserver(() => answer).homeserver;
}

describe('self-signed requests', () => {
  it('carry a signature over the target as it is sent, and the body', async () => {
    const { homeserver, requests } = scriptedHomeserver(() => [200, {}]);
    const body = { limit: 3, latest_events: ['$é'] };
    await homeserver.selfRequest('POST', '/_matrix/federation/v1/x/%21room%3Aa.test?b=%20c', body);
    const [request] = requests;
    const header = parseXMatrix(request?.headers?.authorization ?? '');
    expect(header).toMatchObject({ origin: SERVER, destination: SERVER, key: KEY.keyId });
    const signed = requestToVerify({
      method: 'POST',
      uri: request?.path ?? '',
      origin: SERVER,
      destination: SERVER,
      content: JSON.parse(String(request?.body)),
    });
    const signature = Buffer.from(header?.sig ?? '', 'base64');
    expect(verifySignature(KEY.publicKey, Buffer.from(signed), signature)).toBe(true);
  });

  it('at most 30 are under way at once', async () => {
    let [came, most] = [0, 0];
    const held: ServerResponse[] = [];
    // Nobody is answered before thirty wait, however slowly they come: one more would come beside them.
    const answerAll = () => {
      for (const response of held.splice(0)) response.end('{}');
    };
    const server = createServer((_, response) => {
      most = Math.max(most, held.push(response));
      if (++came === 90 || held.length === 30) setTimeout(answerAll, 50);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { http, close } = homeserverHttp(systemClock);
    const self = new SelfFederation({
      api: new HomeserverApi(`http://127.0.0.1:${port}`, http, systemClock),
      serverName: SERVER,
      signingKey: KEY,
      joinedLocalUser: async () => null,
    });
    await Promise.all(Array.from({ length: 90 }, () => self.request('GET', '/_matrix/federation/v1/x')));
    expect(most).toBe(30);
    await close();
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('membership', () => {
  const denied = { errcode: 'M_FORBIDDEN', error: 'Federation denied with a.test.' };
  it.each<[string, Scripted, string]>([
    ['200', [200, {}], 'resident'],
    ['404 for the event', [404, { errcode: 'M_NOT_FOUND' }], 'resident'],
    ['403 host not in room', [403, { errcode: 'M_FORBIDDEN', error: 'Host not in room.' }], 'absent'],
    ['403 by ACL', [403, { errcode: 'M_FORBIDDEN', error: 'Server is banned from room' }], 'resident'],
    ['403 partial', [403, { errcode: 'ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE' }], 'partial'],
  ])('%s', async (_, answer, membership) => {
    expect(await answering(answer).membership(ROOM)).toBe(membership);
  });
  it('a refusal that says nothing of the room is never "absent"', async () => {
    await expect(answering([403, denied]).membership(ROOM)).rejects.toThrow(HomeserverRefusal);
    await expect(answering([401, {}]).membership(ROOM)).rejects.toThrow(HomeserverRefusal);
    await expect(answering([503, {}]).membership(ROOM)).rejects.toThrow(HomeserverDown);
  });
});

describe('events', () => {
  it('are null where there is none or it is none', async () => {
    for (const answer of [
      [404, {}],
      [403, {}],
      [200, {}],
      [200, { pdus: [] }],
      [200, { pdus: [7] }],
      [200, { pdus: [{ type: 1 }] }],
    ] as const) {
      expect(await answering(answer).event('$x')).toBeNull();
    }
    await expect(answering([500, {}]).event('$x')).rejects.toThrow(HomeserverDown);
    await expect(answering([200, '[1,']).event('$x')).rejects.toThrow(HomeserverDown);
  });

  it('names that JavaScript objects have of themselves are names like others', async () => {
    const odd = `{"__proto__":{"polluted":true},"constructor":1}`;
    const pdu = JSON.stringify(rawEvent('$x')).replace('{"body":"$x"}', odd);
    const read = await answering([200, `{"pdus":[${pdu}]}`]).event('$x');
    expect(Object.keys(read?.content ?? {})).toEqual(['__proto__', 'constructor']);
    expect({}).not.toHaveProperty('polluted');
  });
});

describe('extremities', () => {
  const leave = { room_version: '11', event: { prev_events: ['$a', '$b'] } };
  const members = { chunk: [{ state_key: '@x:other.test' }, { state_key: `@alice:${SERVER}` }] };

  it('come from a leave that a local user could make; the user is remembered', async () => {
    const { homeserver, requests } = scriptedHomeserver((path) => {
      if (path.includes('/members?')) return [200, members];
      return path.includes(`/make_leave/${ROOM}/@alice:${SERVER}`) ? [200, leave] : undefined;
    });
    const found = { roomVersion: '11', eventIds: ['$a', '$b'] };
    const read = () => homeserver.extremities(ROOM);
    expect(await read()).toEqual(found);
    expect(await read()).toEqual(found);
    expect(requests.filter(({ path }) => path.includes('/members?'))).toHaveLength(1);
  });

  it('are not readable when nobody of our server is there', async () => {
    const { homeserver } = scriptedHomeserver((path) =>
      path.includes('/members?') ? [200, { chunk: [{ state_key: '@x:other.test' }] }] : undefined,
    );
    await expect(homeserver.extremities(ROOM)).rejects.toThrow(NotReadable);
  });
});
