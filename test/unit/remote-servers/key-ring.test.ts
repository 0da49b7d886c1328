import { beforeEach, describe, expect, test } from 'vitest';
import { encodeBase64 } from '../../../src/matrix/base64.ts';
import type { JsonObject } from '../../../src/matrix/json.ts';
import { signJson } from '../../../src/matrix/signed-json.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { FederationKeyRing } from '../../../src/remote-servers/key-ring.ts';
import { checkedServerKeys } from '../../../src/remote-servers/server-keys.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { keyAnswer, testKey } from './fakes.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const PEER = 'peer.example';
const ours = testKey('ours');
const key = testKey('a_1');
const other = testKey('b_2');

let clock: ManualClock;
let asked: string[];
let logged: [level: string, line: object][];
let notary: (server: string, keyId: string, minimumValidUntil: number) => Promise<JsonObject[]>;
let direct: () => Promise<JsonObject>;
let ring: FederationKeyRing;

beforeEach(() => {
  clock = new ManualClock();
  asked = [];
  logged = [];
  notary = async () => [];
  direct = async () => {
    throw new Error('unreachable');
  };
  ring = new FederationKeyRing({
    serverName: 'us.example',
    ownKey: ours,
    ownAnswer: async () =>
      keyAnswer('us.example', [ours], clock.now() + DAY, [{ key: other, expiredAt: 1000 }]),
    notary: (server, keyId, until) => {
      asked.push(`notary ${keyId}`);
      return notary(server, keyId, until);
    },
    direct: (server) => {
      asked.push(`direct ${server}`);
      return direct();
    },
    clock,
    logger: {
      info: (line: object) => void logged.push(['info', line]),
      debug: (line: object) => void logged.push(['debug', line]),
    } as never,
    metrics: createMetrics(),
  });
});

const now = () => clock.now();
const forRequest = (keyId = key.keyId) => ring.publicKey(PEER, keyId, now(), 'request');
const forEvent = (at: number, keyId = key.keyId) => ring.publicKey(PEER, keyId, at, 'event');

describe('sources', () => {
  test('our own key is the local one; our old keys come from our homeserver, for events', async () => {
    expect(await ring.publicKey('us.example', ours.keyId, now(), 'request')).toEqual(ours.publicKey);
    expect(asked).toEqual([]);
    expect(await ring.publicKey('us.example', other.keyId, 1000, 'event')).toEqual(
      Buffer.from(other.publicKey),
    );
    expect(await ring.publicKey('us.example', other.keyId, now(), 'request')).toBeNull();
    expect(asked).toEqual([]);
  });

  test('the notary first; the server itself only when that does not help; then what is kept', async () => {
    notary = async (server) => [keyAnswer(server, [key], now() + DAY)];
    expect(await forRequest()).toEqual(Buffer.from(key.publicKey));
    expect(asked).toEqual(['notary ed25519:a_1']);
    expect(await forRequest()).not.toBeNull();
    expect(asked.length).toBe(1);
    notary = async () => [];
    direct = async () => keyAnswer(PEER, [key, other], now() + DAY);
    expect(await forRequest(other.keyId)).toEqual(Buffer.from(other.publicKey));
    expect(asked).toEqual(['notary ed25519:a_1', 'notary ed25519:b_2', `direct ${PEER}`]);
  });

  test('a notary that fails ⇒ the server itself', async () => {
    notary = async () => {
      throw new Error('502');
    };
    direct = async () => keyAnswer(PEER, [key], now() + DAY);
    expect(await forRequest()).toEqual(Buffer.from(key.publicKey));
  });

  test('notary lies: another server, another signer, no signature ⇒ not believed, the server itself is asked', async () => {
    const right = keyAnswer(PEER, [key], now() + DAY);
    const swapped = { ...right, verify_keys: { [key.keyId]: { key: encodeBase64(other.publicKey) } } };
    notary = async () => [
      keyAnswer('evil.example', [key], now() + DAY),
      swapped,
      { ...right, signatures: {} },
    ];
    expect(await forRequest()).toBeNull();
    expect(asked).toEqual(['notary ed25519:a_1', `direct ${PEER}`]);
  });

  test('why there is no key is logged once a minute; of requests, which anybody can send, for who looks closer', async () => {
    for (let i = 0; i < 5; i++) await forEvent(now(), `ed25519:e${i}`);
    expect(logged).toEqual([['info', { server: PEER, reason: 'unreachable' }]]);
    logged = [];
    const lines = async () => {
      await clock.advance(MINUTE);
      await forRequest();
      return logged.splice(0);
    };
    direct = async () => ({ ...keyAnswer(PEER, [key], now() + DAY), signatures: {} });
    const badKeys = { server: PEER, reason: 'its keys are of another server, or not signed by it' };
    expect(await lines()).toEqual([['debug', badKeys]]);
    direct = async () => keyAnswer(PEER, [other], now() + DAY);
    const noKey = { server: PEER, reason: 'it has no key ed25519:a_1 that was valid then' };
    expect(await lines()).toEqual([['debug', noKey]]);
    direct = async () => keyAnswer(PEER, [key], now() + DAY);
    expect(await lines()).toEqual([]);
  });

  test('names and key IDs that are none are not looked up', async () => {
    for (const server of ['', '__proto__', 'a/b', 'x'.repeat(300)]) {
      await ring.publicKey(server, key.keyId, now(), 'request');
    }
    for (const keyId of ['', 'ed25519:', 'rsa:1', `ed25519:${'x'.repeat(300)}`, 'ed25519:a b']) {
      expect(await forRequest(keyId)).toBeNull();
    }
    expect(asked).toEqual([]);
  });
});

describe('validity', () => {
  test('key expired / valid_until in past / > 7 d ahead ⇒ no request after it, but events of that time', async () => {
    direct = async () => keyAnswer(PEER, [key], now() - MINUTE);
    expect(await forRequest()).toBeNull();
    expect(await forEvent(now() - MINUTE)).not.toBeNull();
    expect(await forEvent(now() - MINUTE + 1)).toBeNull();
  });

  test('valid_until > 7 d ahead ⇒ held valid for seven days', async () => {
    direct = async () => keyAnswer(PEER, [key], now() + 1000 * DAY);
    expect(await forRequest()).not.toBeNull();
    direct = async () => {
      throw new Error('gone');
    };
    await clock.advance(7 * DAY);
    expect(await forRequest()).not.toBeNull();
    expect(asked.length).toBe(2);
    await clock.advance(1);
    expect(await forRequest()).toBeNull();
    expect(asked.length).toBe(4);
  });

  test('an old key verifies events up to its end and no request', async () => {
    const end = now() - 10 * DAY;
    direct = async () => keyAnswer(PEER, [key], now() + DAY, [{ key: other, expiredAt: end }]);
    expect(await forEvent(end, other.keyId)).toEqual(Buffer.from(other.publicKey));
    expect(await forEvent(end + 1, other.keyId)).toBeNull();
    expect(await forRequest(other.keyId)).toBeNull();
    expect(await ring.publicKey(PEER, other.keyId, end, 'request')).toBeNull();
  });

  test('a key that was given up stays so, though an older answer comes again', async () => {
    direct = async () => keyAnswer(PEER, [key], now() + DAY, [{ key: other, expiredAt: now() - DAY }]);
    expect(await forRequest()).not.toBeNull();
    await clock.advance(MINUTE);
    notary = async () => [keyAnswer(PEER, [other], now() + 5 * DAY)];
    expect(await forRequest(other.keyId)).toBeNull();
  });

  test('another key under the same ID: the server itself decides, an older copy at the notary does not', async () => {
    const renewed = { ...other, keyId: key.keyId };
    direct = async () => keyAnswer(PEER, [renewed], now() + DAY);
    expect(await forRequest()).toEqual(Buffer.from(other.publicKey));
    await clock.advance(MINUTE);
    notary = async () => [keyAnswer(PEER, [key], now() + DAY / 2)];
    expect(await forRequest('ed25519:x')).toBeNull();
    expect(await forRequest()).toEqual(Buffer.from(other.publicKey));
    await clock.advance(DAY + 1);
    notary = async () => [keyAnswer(PEER, [key], now() + DAY)];
    expect(await forRequest()).toEqual(Buffer.from(key.publicKey));
  });

  test('what the server says now counts, also where it takes back some of what it said', async () => {
    notary = async () => [keyAnswer(PEER, [key], now() + 5 * DAY)];
    expect(await forRequest()).not.toBeNull();
    notary = async () => [];
    const renewed = { ...other, keyId: key.keyId };
    direct = async () => keyAnswer(PEER, [renewed], now() + DAY);
    expect(await forRequest('ed25519:x')).toBeNull();
    expect(await forRequest()).toEqual(Buffer.from(other.publicKey));
  });

  test('minimum_valid_until: what the notary has to hold is valid at the time of the event, at most now', async () => {
    const wanted: number[] = [];
    notary = async (_server, _keyId, until) => {
      wanted.push(until);
      return [];
    };
    await forEvent(now() - DAY);
    await forRequest(other.keyId);
    await forEvent(now() + DAY, 'ed25519:c');
    expect(wanted).toEqual([now() - DAY, now(), now()]);
  });

  test('origin_server_ts in year 10 000 ⇒ null', async () => {
    direct = async () => keyAnswer(PEER, [key], Number.MAX_SAFE_INTEGER);
    expect(await forEvent(253_402_300_800_000)).toBeNull();
    expect(await forEvent(1.5)).toBeNull();
  });
});

describe('how often others are asked', () => {
  test('1 000 unknown key IDs (negative cache, single-flight: ≤ 1 fetch)', async () => {
    direct = async () => keyAnswer(PEER, [key], now() + DAY);
    const unknown = Array.from({ length: 1000 }, (_, i) => forRequest(`ed25519:u${i}`));
    expect(new Set(await Promise.all(unknown))).toEqual(new Set([null]));
    expect(asked).toEqual(['notary ed25519:u0', `direct ${PEER}`]);
    for (let i = 1000; i < 2000; i++) await forEvent(now(), `ed25519:u${i}`);
    expect(asked.filter((line) => line.startsWith('direct')).length).toBe(1);
    expect(asked.length).toBe(2 + 8);
    asked = asked.slice(0, 2);
    expect(await forRequest()).not.toBeNull();
    await clock.advance(MINUTE);
    await forRequest('ed25519:u0');
    expect(asked.length).toBe(4);
  });

  test('of a server that is gone, the notary is asked for some keys more, the server once', async () => {
    notary = async (server, keyId) =>
      keyId === other.keyId ? [keyAnswer(server, [other], now() - DAY)] : [];
    const wanted = ['ed25519:u1', other.keyId, ...Array.from({ length: 50 }, (_, i) => `ed25519:x${i}`)];
    const found = await Promise.all(wanted.map((keyId) => forEvent(now() - DAY, keyId)));
    expect(found.filter((publicKey) => publicKey !== null)).toEqual([Buffer.from(other.publicKey)]);
    expect(asked.filter((line) => line.startsWith('direct')).length).toBe(1);
    expect(asked.filter((line) => line.startsWith('notary')).length).toBe(8);
  });

  test('keys that anybody claims in requests do not keep the notary from giving old keys of events', async () => {
    direct = async () => keyAnswer(PEER, [key], now() + DAY);
    for (let i = 0; i < 20; i++) expect(await forRequest(`ed25519:u${i}`)).toBeNull();
    notary = async (server) => [keyAnswer(server, [other], now() - DAY)];
    expect(await forEvent(now() - DAY, other.keyId)).toEqual(Buffer.from(other.publicKey));
    expect(asked.length).toBe(3);
  });

  test('a refused direct fetch leaves what the notary gives', async () => {
    direct = async () => {
      throw new Error('ECONNREFUSED');
    };
    expect(await forRequest()).toBeNull();
    notary = async (server, keyId) =>
      keyId === other.keyId ? [keyAnswer(server, [other], now() + DAY)] : [];
    expect(await forRequest(other.keyId)).toEqual(Buffer.from(other.publicKey));
    expect(await forEvent(now(), other.keyId)).not.toBeNull();
    expect(asked).toEqual(['notary ed25519:a_1', `direct ${PEER}`, 'notary ed25519:b_2']);
  });

  test('10 000 servers that do not exist push no key out', async () => {
    notary = async (server) => (server === PEER ? [keyAnswer(server, [key], now() + DAY)] : []);
    expect(await forRequest()).not.toBeNull();
    for (let i = 0; i < 10_001; i++) await ring.publicKey(`s${i}.example`, key.keyId, now(), 'request');
    expect(ring.known(PEER, key.keyId, now(), 'request')).not.toBeNull();
  });

  test('a key that was asked for an old event may be asked for the present within the pause', async () => {
    expect(await forEvent(now() - DAY)).toBeNull();
    notary = async (server, _, until) => [keyAnswer(server, [key], until + DAY)];
    expect(await forRequest()).not.toBeNull();
  });

  test('key server hangs 5 min ⇒ given up after seconds, and not asked again at once', async () => {
    notary = () => new Promise(() => {});
    direct = () => new Promise(() => {});
    const found = forRequest();
    await clock.advance(20_000);
    expect(await found).toBeNull();
    expect(clock.pending).toBe(0);
    expect(await forRequest()).toBeNull();
    expect(asked.length).toBe(2);
  });

  test('names without end fill no queue: requests beyond the limit are refused at once, events are not', async () => {
    notary = () => new Promise(() => {});
    direct = () => new Promise(() => {});
    let refused = 0;
    const flood = Array.from({ length: 700 }, (_, i) =>
      ring.publicKey(`s${i}.example`, key.keyId, now(), 'request').then(() => refused++),
    );
    await clock.advance(0);
    expect(refused).toBe(150);
    notary = async (server) => [keyAnswer(server, [key], now() + DAY)];
    expect(await forEvent(now())).not.toBeNull();
    await clock.advance(11 * 20_000);
    await Promise.all(flood);
  });
});

describe('names that anybody claims', () => {
  test.each(['s%.evil.example', 's%.evil.example.', '[2001:db8::%]', '1.2.3.4:%'])(
    'names of one domain, %s, and addresses, keep no other server from being known',
    async (pattern) => {
      notary = (server) =>
        server === PEER ? Promise.resolve([keyAnswer(PEER, [key], now() + DAY)]) : new Promise(() => {});
      direct = () => new Promise(() => {});
      const flood = Array.from({ length: 700 }, (_, i) =>
        ring.publicKey(pattern.replace('%', String(i + 1)), key.keyId, now(), 'request'),
      );
      await clock.advance(0);
      expect(await forRequest()).not.toBeNull();
      await clock.advance(10 * 20_000);
      expect(new Set(await Promise.all(flood))).toEqual(new Set([null]));
    },
  );
});

describe('who asks may leave', () => {
  const hanging = () => new Promise<never>(() => {});

  test('a signal that aborts ends the waiting at once; the look-up goes on for the others', async () => {
    const { promise, resolve } = Promise.withResolvers<JsonObject[]>();
    notary = () => promise;
    const abort = new AbortController();
    const left = ring.publicKey(PEER, key.keyId, now(), 'event', abort.signal);
    const stayed = forEvent(now());
    await clock.advance(1000);
    abort.abort();
    expect(await left).toBeNull();
    resolve([keyAnswer(PEER, [key], now() + DAY)]);
    expect(await stayed).toEqual(Buffer.from(key.publicKey));
    expect(await ring.publicKey(PEER, 'ed25519:x', now(), 'event', abort.signal)).toBeNull();
    expect(await ring.publicKey(PEER, key.keyId, now(), 'event', abort.signal)).not.toBeNull();
    expect(asked).toEqual(['notary ed25519:a_1']);
  });

  test('look-ups that wait for their turn and for nobody are not begun; what was begun is remembered', async () => {
    notary = hanging;
    direct = hanging;
    const abort = new AbortController();
    const flood = Array.from({ length: 300 }, (_, i) =>
      ring.publicKey(`s${i}.example`, key.keyId, now(), 'event', abort.signal),
    );
    const wanted = ring.publicKey(PEER, key.keyId, now(), 'event', abort.signal);
    const stays = ring.publicKey(PEER, key.keyId, now(), 'event');
    await clock.advance(5000);
    expect(asked.length).toBe(30);
    abort.abort();
    expect(new Set(await Promise.all([...flood, wanted]))).toEqual(new Set([null]));
    notary = async (server) => [keyAnswer(server, [key], now() + DAY)];
    await clock.advance(15_000);
    expect(await stays).not.toBeNull();
    expect(asked.filter((line) => line.startsWith('notary')).length).toBe(31);
    expect(await ring.publicKey('s0.example', key.keyId, now() - DAY, 'event')).toBeNull();
    expect(clock.pending).toBe(0);
  });
});

describe('an answer with keys', () => {
  const answer = () => keyAnswer(PEER, [key], now() + DAY);

  test('key response not self-signed ⇒ refused', () => {
    expect(checkedServerKeys({ ...answer(), signatures: {} }, PEER, now())).toBeNull();
    const byAnother = { ...answer(), verify_keys: { [key.keyId]: { key: encodeBase64(other.publicKey) } } };
    expect(checkedServerKeys(byAnother, PEER, now())).toBeNull();
    expect(checkedServerKeys({ ...answer(), valid_until_ts: now() + 2 * DAY }, PEER, now())).toBeNull();
  });

  test('twenty keys with twenty signatures that are none cost four attempts', () => {
    const keys = Array.from({ length: 20 }, (_, i) => testKey(`k${i}`));
    const good = keyAnswer(PEER, keys, now() + DAY);
    const padded = { ...good, padding: 'x'.repeat(1000) };
    const signatures = { [PEER]: Object.fromEntries(keys.map(({ keyId }) => [keyId, 'A'.repeat(86)])) };
    let read = 0;
    const counted = new Proxy({ ...padded, signatures } as JsonObject, {
      get(target, name) {
        if (name === 'padding') read++;
        return Reflect.get(target, name);
      },
    });
    expect(checkedServerKeys(counted, PEER, now())).toBeNull();
    expect(read).toBe(4);
    expect(checkedServerKeys(good, PEER, now())?.size).toBe(20);
  });

  test('an old key cannot vouch for the answer', () => {
    const signedByOld = keyAnswer(PEER, [other], now() + DAY);
    const forged = {
      ...signedByOld,
      verify_keys: { [key.keyId]: { key: encodeBase64(key.publicKey) } },
      old_verify_keys: signedByOld.verify_keys as JsonObject,
    };
    expect(checkedServerKeys(forged, PEER, now())).toBeNull();
  });

  test('server_name ≠ asked ⇒ refused', () => {
    expect(checkedServerKeys(answer(), 'other.example', now())).toBeNull();
    const ofAnother = { ...answer(), server_name: 'other.example', signatures: {} };
    expect(checkedServerKeys(signJson(ofAnother, PEER, key), PEER, now())).toBeNull();
  });

  test('known insecure key ⇒ not taken, with padding or without', () => {
    const insecure = 'l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og';
    for (const text of [insecure, `${insecure}=`]) {
      const listed = keyAnswerWith({ 'ed25519:bad': { key: text } });
      const keys = checkedServerKeys(listed, PEER, now());
      expect([...(keys?.keys() ?? [])]).toEqual([key.keyId]);
    }
  });

  test('small-order keys are not taken', () => {
    const listed: JsonObject = {};
    for (const [i, hex] of ['00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`].entries()) {
      listed[`ed25519:small${i}`] = { key: encodeBase64(Buffer.from(hex, 'hex')) };
    }
    expect([...(checkedServerKeys(keyAnswerWith(listed), PEER, now())?.keys() ?? [])]).toEqual([key.keyId]);
  });

  test('keys of odd shape are passed over', () => {
    const odd = {
      'ed25519:x': { key: 'AAAA' },
      'rsa:1': { key: 'x' },
      'ed25519:y': 'z',
      'ed25519:z': { key: 5 },
    };
    expect([...(checkedServerKeys(keyAnswerWith(odd), PEER, now())?.keys() ?? [])]).toEqual([key.keyId]);
    for (const bad of [{ ...answer(), verify_keys: [] }, { ...answer(), valid_until_ts: '1' }, {}]) {
      expect(checkedServerKeys(bad, PEER, now())).toBeNull();
    }
  });

  function keyAnswerWith(old: JsonObject): JsonObject {
    const extra = keyAnswer(PEER, [key], now() + DAY);
    const verify_keys = { ...(extra.verify_keys as JsonObject), ...old };
    return signJson({ ...extra, verify_keys, signatures: {} }, PEER, key);
  }
});

describe('for whose events', () => {
  test('a server whose events name slow servers without end keeps no other from its keys', async () => {
    notary = (server) =>
      server === PEER ? Promise.resolve([keyAnswer(PEER, [key], now() + DAY)]) : new Promise(() => {});
    direct = () => new Promise(() => {});
    const flood = Array.from({ length: 300 }, (_, i) =>
      ring.publicKey(`s${i}.example`, key.keyId, now(), 'event', undefined, 'evil.example'),
    );
    await clock.advance(0);
    expect(asked.length).toBe(30);
    expect(await ring.publicKey(PEER, key.keyId, now(), 'event', undefined, 'good.example')).not.toBeNull();
    await clock.advance(11 * 20_000);
    await Promise.all(flood);
  });

  test('what one server waits for in its queue is had at once by another', async () => {
    notary = (server) =>
      server === PEER ? Promise.resolve([keyAnswer(PEER, [key], now() + DAY)]) : new Promise(() => {});
    direct = () => new Promise(() => {});
    const leave = new AbortController();
    const flood = Array.from({ length: 40 }, (_, i) =>
      ring.publicKey(`s${i}.example`, key.keyId, now(), 'event', leave.signal, 'evil.example'),
    );
    const queued = ring.publicKey(PEER, key.keyId, now(), 'event', leave.signal, 'evil.example');
    expect(await ring.publicKey(PEER, key.keyId, now(), 'event', undefined, 'good.example')).not.toBeNull();
    leave.abort();
    await Promise.all([...flood, queued]);
  });
});
