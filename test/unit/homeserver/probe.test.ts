import { describe, expect, it } from 'vitest';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import { HttpError } from '../../../src/platform/http-client.ts';
import { KEY, type Script, SERVER, scriptedHomeserver } from './scripted-homeserver.ts';

const KEYS = {
  server_name: SERVER,
  verify_keys: { [KEY.keyId]: { key: encodeBase64(KEY.publicKey) } },
};
const TOKEN = 's1_2_3_4_5_6_7_8_9_10_11_12';

/** All is well, save for what `script` says. */
function probing(script: Script = () => undefined, reader: 'registration' | null = 'registration') {
  const { homeserver } = scriptedHomeserver((path, request) => {
    const said = script(path, request);
    if (said !== undefined) return said;
    if (path.endsWith('/federation/v1/version')) return [200, { server: { name: 'Synapse', version: '1' } }];
    if (path.endsWith('/key/v2/server')) return [200, KEYS];
    if (path.includes('/state_ids/')) return [403, { errcode: 'M_FORBIDDEN', error: 'Host not in room.' }];
    if (path.includes('/events?')) return [200, { start: TOKEN, end: TOKEN, chunk: [] }];
    return undefined;
  }, reader);
  return homeserver.probe();
}

describe('the probe', () => {
  it('all is well', async () => {
    expect(await probing()).toEqual({
      reachable: true,
      problem: null,
      groupsFieldAccepted: true,
      version: 'Synapse 1',
    });
  });

  it.each<[string, string, Script]>([
    ['down', 'no connection', () => new HttpError('connection', 'refused')],
    ['down', '502 of a proxy', () => [502, '<html>']],
    ['wrong-key', 'no keys there', (path) => (path.endsWith('/key/v2/server') ? [404, {}] : undefined)],
    [
      'wrong-key',
      'odd keys',
      (path) => (path.endsWith('/key/v2/server') ? [200, { ...KEYS, verify_keys: [] }] : undefined),
    ],
    [
      'wrong-name',
      'another name',
      (path) => (path.endsWith('/key/v2/server') ? [200, { ...KEYS, server_name: 'b.test' }] : undefined),
    ],
    ['wrong-name', 'no name', (path) => (path.endsWith('/key/v2/server') ? [200, {}] : undefined)],
    ['wrong-key', 'refused signature', (path) => (path.includes('/state_ids/') ? [401, {}] : undefined)],
    [
      'whitelist',
      'own name not listed',
      (path) =>
        path.includes('/state_ids/') ? [403, { error: 'Federation denied with a.test.' }] : undefined,
    ],
    ['no-reader', 'unknown registration', (path) => (path.endsWith('/register') ? [401, {}] : undefined)],
    [
      'no-reader',
      'exclusive elsewhere',
      (path) => (path.endsWith('/register') ? [400, { errcode: 'M_EXCLUSIVE' }] : undefined),
    ],
    [
      'no-reader',
      'taken for another',
      (path) => (path.includes('/whoami') ? [200, { user_id: '@x:a.test' }] : undefined),
    ],
  ])('%s: %s', async (kind, _, script) => {
    const { problem, reachable } = await probing(script);
    expect(problem?.kind).toBe(kind);
    expect(problem?.advice).toMatch(/\.$/);
    expect(reachable).toBe(kind !== 'down');
  });

  it('without a reader the ninth field stays untried', async () => {
    expect(await probing(undefined, null)).toMatchObject({
      problem: { kind: 'no-reader' },
      groupsFieldAccepted: null,
    });
  });

  it.each<[string, Script]>([
    ['refuses the number', (path) => (/9{4000}/.test(path) ? [400, { errcode: 'M_UNKNOWN' }] : undefined)],
    ['has tokens of another form', (path) => (path.includes('/events?') ? [200, { end: '17' }] : undefined)],
  ])('a homeserver that %s in the ninth field', async (_, script) => {
    expect(await probing(script)).toMatchObject({ problem: null, groupsFieldAccepted: false });
  });
});
