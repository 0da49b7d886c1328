import { describe, expect, test } from 'vitest';
import { withHomeserverTokens } from '../../../src/client-api/token-targets.ts';
import { deviceHash, type TokenMode, wrapToken } from '../../../src/client-sync/sync-token.ts';

const BARE = 's44_17_4_3_2_1_1_3_0_1_1_1_1_1';
const OURS = { device: deviceHash('@a:b', 'D'), peeks: new Map([[28_000_000, 28_000_123_456]]) };
const C = '/_matrix/client';

describe.each<TokenMode>(['ninth-field', 'suffix'])('our token as %s', (mode) => {
  const token = wrapToken(BARE, OURS, mode);

  test.each([
    [`${C}/v3/rooms/!r:b/messages?dir=b&from=TOKEN&limit=10`],
    [`${C}/r0/rooms/%21r%3Ab/messages?from=TOKEN&to=TOKEN`],
    [`${C}/v3/rooms/!r:b/initialSync?limit=20&from=TOKEN`],
    [`${C}/v1/rooms/!r:b/relations/$e?from=TOKEN`],
    [`${C}/v1/rooms/!r:b/relations/$e/m.annotation/m.reaction?to=TOKEN`],
    [`${C}/unstable/rooms/!r:b/relations/$e/m.thread?from=TOKEN`],
    [`${C}/v3/rooms/!r:b/members?at=TOKEN&membership=join`],
    [`${C}/v3/keys/changes?from=TOKEN&to=TOKEN`],
    [`${C}/v3/events?from=TOKEN&timeout=1`],
    [`${C}/api/v1/events?from=TOKEN`],
    [`${C}/v3/initialSync?from=TOKEN`],
    ['/_synapse/admin/v1/rooms/!r:b/messages?from=TOKEN'],
  ])('is unwrapped in %s', (target) => {
    expect(withHomeserverTokens(target.replaceAll('TOKEN', token))).toBe(target.replaceAll('TOKEN', BARE));
  });

  test('is unwrapped where it, or its name, is percent-encoded', () => {
    const encoded = encodeURIComponent(token).replaceAll('_', '%5F');
    expect(withHomeserverTokens(`${C}/v3/rooms/!r:b/messages?fr%6Fm=${encoded}`)).toBe(
      `${C}/v3/rooms/!r:b/messages?fr%6Fm=${BARE}`,
    );
  });

  test.each([
    [`${C}/v3/notifications?from=TOKEN`],
    [`${C}/v3/search?next_batch=TOKEN`],
    [`${C}/v1/rooms/!r:b/threads?from=TOKEN`],
    [`${C}/v3/publicRooms?since=TOKEN`],
    [`${C}/unstable/org.matrix.simplified_msc3575/sync?pos=TOKEN`],
    [`${C}/v3/rooms/!r:b/messages/more?from=TOKEN`],
    [`${C}/v3/rooms/!r:b/messages?other=TOKEN`],
    ['/_matrix/media/v3/download/a/b?from=TOKEN'],
  ])('is left as it is in %s, which has tokens of another kind', (target) => {
    const url = target.replaceAll('TOKEN', token);
    expect(withHomeserverTokens(url)).toBe(url);
  });
});

test.each([
  `${C}/v3/rooms/!r:b/messages`,
  `${C}/v3/rooms/!r:b/messages?`,
  `${C}/v3/rooms/!r:b/messages?from=${BARE}&dir=b`,
  `${C}/v3/rooms/!r:b/messages?from=%zz&dir=b&&=`,
  `${C}/v3/rooms/!r:b/messages?from=t1-2_3&from=x#y?z`,
  '/',
  '',
])('a target without a token of ours stays byte for byte: %s', (target) => {
  expect(withHomeserverTokens(target)).toBe(target);
});
