import { makeRegistration, parseRegistration } from '../../../src/homeserver/registration.ts';
import { SynapseHomeserver } from '../../../src/homeserver/synapse-homeserver.ts';
import { signingKeyFromSeed } from '../../../src/matrix/signing-key.ts';
import type { HttpRequest, HttpResponse } from '../../../src/platform/http-client.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { ManualClock } from '../../support/manual-clock.ts';

/** What the homeserver says: a status with a JSON body, the body's own bytes, or an error of the transport. */
export type Scripted = readonly [status: number, body: unknown] | Error;
export type Script = (path: string, request: HttpRequest) => Scripted | undefined;

export const SERVER = 'a.test';
export const READER = `@_peek_reader:${SERVER}`;
export const KEY = signingKeyFromSeed('ed25519:unit', new Uint8Array(32).fill(7));

export const registration = parseRegistration(makeRegistration(SERVER, systemRandom));

/** A homeserver that says what the test has it say; it takes our reader unless the script says otherwise. */
export function scriptedHomeserver(script: Script, reader: 'registration' | 'token' | null = 'registration') {
  const clock = new ManualClock();
  const requests: HttpRequest[] = [];
  const homeserver = new SynapseHomeserver({
    url: 'http://127.0.0.1:1',
    serverName: SERVER,
    signingKey: KEY,
    reader: reader === null ? null : reader === 'token' ? { accessToken: 'syt' } : { registration },
    close: async () => {},
    clock,
    async http(request): Promise<HttpResponse> {
      requests.push(request);
      const path = decodeURIComponent(request.path);
      const said = script(path, request) ?? usual(path, request.method);
      if (said instanceof Error) throw said;
      const [status, body] = said;
      const bytes = typeof body === 'string' ? body : JSON.stringify(body);
      return { status, headers: {}, body: Buffer.from(bytes) };
    },
  });
  return { homeserver, clock, requests };
}

function usual(path: string, method: string): Scripted {
  if (method === 'POST' && path.endsWith('/register')) return [400, { errcode: 'M_USER_IN_USE' }];
  if (path.includes('/account/whoami')) return [200, { user_id: READER }];
  if (path.includes('/state/m.room.create/')) return [200, { content: { room_version: '11' } }];
  return [404, { errcode: 'M_NOT_FOUND' }];
}

/** An event as Synapse shows it with `raw`. */
export function rawEvent(id: string, fields: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    type: 'm.room.message',
    sender: `@alice:${SERVER}`,
    room_id: `!room:${SERVER}`,
    content: { body: id },
    depth: 5,
    origin_server_ts: 1,
    prev_events: [],
    auth_events: [],
    hashes: {},
    signatures: {},
    event_id: id,
    unsigned: { age: 3 },
    ...fields,
  };
}
