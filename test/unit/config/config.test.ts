import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError, loadConfig, loadOpsListen } from '../../../src/config/config.ts';
import { SETTINGS, settingList } from '../../../src/config/settings.ts';

const NEEDED = {
  PEEK_HOMESERVER_URL: 'http://127.0.0.1:8008',
  PEEK_SERVER_NAME: 'example.org',
  PEEK_SIGNING_KEY_PATH: '/keys/signing.key',
};

function load(more: Record<string, string | undefined> = {}) {
  return loadConfig({ ...NEEDED, ...more });
}

function problemsOf(env: Record<string, string | undefined>): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('loadConfig', () => {
  test('with only what is required, everything else has its default', () => {
    expect(load({ PATH: '/usr/bin' })).toEqual({
      homeserverUrl: 'http://127.0.0.1:8008',
      serverName: 'example.org',
      signingKeyPath: '/keys/signing.key',
      reader: null,
      listen: { host: '0.0.0.0', port: 8090 },
      tls: null,
      opsListen: { host: '127.0.0.1', port: 8091 },
      redisUrl: null,
      dataDir: './data',
      federationCaPath: null,
      federationAllow: null,
      federationDomains: null,
      trustedProxies: null,
      serversPerRoom: '1',
      sincelessSync: 'delivered',
      dormantAfter: 600_000,
      expireAfter: 604_800_000,
      renewalInterval: 3_600_000,
      maxPerDevice: 50,
      maxPerServer: 1000,
      rateLimit: { count: 10, perMs: 60_000 },
      logLevel: 'info',
    });
  });

  test('what is set is read, lists and groups included', () => {
    const config = load({
      PEEK_HOMESERVER_URL: 'https://hs.example.org/',
      PEEK_REGISTRATION_PATH: ' /etc/reg.yaml ',
      PEEK_TLS_LISTEN: '[::]:8448',
      PEEK_TLS_CERT_PATH: 'c.pem',
      PEEK_TLS_KEY_PATH: 'k.pem',
      PEEK_FEDERATION_ALLOW: '10.0.0.0/8, FD00::/8,192.0.2.7',
      PEEK_FEDERATION_DOMAINS: 'a.example,b.example:8448',
      PEEK_DORMANT_AFTER: '30s',
      PEEK_RATE_LIMIT: '600/h',
    });
    expect(config.homeserverUrl).toBe('https://hs.example.org');
    expect(config.reader).toEqual({ kind: 'registration', path: '/etc/reg.yaml' });
    expect(config.tls).toEqual({ listen: { host: '::', port: 8448 }, certPath: 'c.pem', keyPath: 'k.pem' });
    expect(config.federationAllow).toEqual(['10.0.0.0/8', 'fd00::/8', '192.0.2.7/32']);
    expect(config.federationDomains).toEqual(['a.example', 'b.example:8448']);
    expect(config.dormantAfter).toBe(30_000);
    expect(config.rateLimit).toEqual({ count: 600, perMs: 3_600_000 });
  });

  test('an empty variable counts as not set', () => {
    expect(load({ PEEK_REDIS_URL: '', PEEK_LISTEN: '  ', PEEK_TLS_LISTEN: '' })).toEqual(load());
  });

  test('is frozen to the bottom', () => {
    const config = load({ PEEK_FEDERATION_ALLOW: '10.0.0.0/8' });
    for (const value of [config, config.listen, config.federationAllow, config.rateLimit]) {
      expect(Object.isFrozen(value)).toBe(true);
    }
  });

  test('every problem is listed at once, followed by every setting with its default', () => {
    const env = {
      PEEK_LISTEN: 'nowhere',
      PEEK_MAX_PER_DEVICE: '0',
      PEEK_MAX_PER_DEVISE: '5',
      PEEK_LOG_LEVEL: 'loud',
    };
    expect(problemsOf(env)).toEqual([
      'PEEK_MAX_PER_DEVISE is not a setting',
      'PEEK_HOMESERVER_URL is required',
      'PEEK_SERVER_NAME is required',
      'PEEK_SIGNING_KEY_PATH is required',
      'PEEK_LISTEN must be host:port or [IPv6 address]:port (it is "nowhere")',
      'PEEK_MAX_PER_DEVICE must be a whole number from 1 to 999999999 (it is "0")',
      'PEEK_LOG_LEVEL must be one of fatal, error, warn, info, debug, trace, silent (it is "loud")',
    ]);
    const error = new ConfigError(problemsOf(env));
    for (const problem of error.problems) expect(error.message).toContain(problem);
    for (const setting of settingList) {
      expect(error.message).toContain(`${setting.name}  (${setting.required ? 'required' : 'default: '}`);
    }
  });

  test('settings that contradict each other are refused', () => {
    expect(
      problemsOf({
        ...NEEDED,
        PEEK_TLS_CERT_PATH: 'c.pem',
        PEEK_REGISTRATION_PATH: 'r.yaml',
        PEEK_READER_TOKEN: 'syt_hidden',
        PEEK_EXPIRE_AFTER: '5m',
        PEEK_OPS_LISTEN: '0.0.0.0:8090',
      }),
    ).toEqual([
      'PEEK_TLS_LISTEN and PEEK_TLS_CERT_PATH and PEEK_TLS_KEY_PATH go together: PEEK_TLS_LISTEN and PEEK_TLS_KEY_PATH not set',
      'PEEK_REGISTRATION_PATH and PEEK_READER_TOKEN must not both be set',
      'PEEK_DORMANT_AFTER must be shorter than PEEK_EXPIRE_AFTER',
      'PEEK_LISTEN and PEEK_OPS_LISTEN must not be the same',
    ]);
    expect(problemsOf({ ...NEEDED, PEEK_LISTEN: '127.0.0.1:0', PEEK_OPS_LISTEN: '127.0.0.1:0' })).toEqual([]);
  });

  test('secrets are never printed: not by the config, not by an error', () => {
    const config = load({ PEEK_READER_TOKEN: 'syt_hidden', PEEK_REDIS_URL: 'redis://:pa%20ss@host' });
    if (config.reader?.kind !== 'token') throw new Error('no token');
    expect(config.reader.token.reveal()).toBe('syt_hidden');
    expect(config.redisUrl?.reveal()).toBe('redis://:pa%20ss@host');
    for (const text of [JSON.stringify(config), inspect(config, { depth: 9 }), `${config.reader.token}`]) {
      expect(text).not.toMatch(/hidden|pa%20ss/);
    }
    const bad = problemsOf({
      PEEK_READER_TOKEN: 'syt hidden',
      PEEK_REDIS_URL: 'hidden',
      PEEK_READER_TOKE: 'hidden',
    });
    expect(bad.join()).toContain('PEEK_READER_TOKEN must be printable ASCII');
    expect(bad.join()).not.toContain('hidden');
  });

  test('every default and every example is a value of its kind', () => {
    for (const setting of settingList) {
      for (const text of [setting.example, setting.default]) {
        if (text !== null)
          expect(setting.kind.schema.safeParse(text).success, `${setting.name}=${text}`).toBe(true);
      }
    }
    expect(new Set(settingList.map((setting) => setting.name)).size).toBe(Object.keys(SETTINGS).length);
  });
});

describe('loadOpsListen', () => {
  test('needs none of the other settings', () => {
    expect(loadOpsListen({})).toEqual({ host: '127.0.0.1', port: 8091 });
    expect(loadOpsListen({ PEEK_OPS_LISTEN: '0.0.0.0:9000', PEEK_SERVER_NAME: '' })).toEqual({
      host: '0.0.0.0',
      port: 9000,
    });
  });

  test('names what is wrong with it', () => {
    expect(() => loadOpsListen({ PEEK_OPS_LISTEN: 'nowhere' })).toThrow(/PEEK_OPS_LISTEN .*"nowhere"/);
  });
});
