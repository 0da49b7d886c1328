import type { IncomingHttpHeaders } from 'node:http';
import { isServerName } from '../../../src/matrix/ids.ts';
import { WellKnown } from '../../../src/remote-servers/well-known.ts';
import { wellKnownLifetimeMs } from '../../../src/remote-servers/well-known-lifetime.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { type Maker, made } from '../made.ts';
import { asyncProperty, property } from '../property.ts';

const MINUTE = 60_000;
const PIECES = [
  ...[
    'max-age',
    '=',
    's-maxage',
    'no-store',
    'no-cache',
    'private',
    ',',
    ' ',
    '"',
    '-',
    '0',
    '1',
    '99999999999',
    'e9',
  ],
  ...[
    'Wed, 21 Oct 2026 07:28:00 GMT',
    '0',
    'Infinity',
    'NaN',
    '\u0000',
    'max-age=0',
    'max-age=172801',
    '1e400',
  ],
];
const BODY_PIECES = [
  ...[
    '{',
    '}',
    '"m.server"',
    ':',
    '"',
    'a.org',
    'a.org:8448',
    '1.2.3.4',
    '[::1]',
    ',',
    'null',
    '[',
    ']',
    '\\u0000',
  ],
  ...['{"m.server":"a.org"}', '{"m.server":"', '"}', '\ufeff', 'ÿ', ' ', '\\'],
];
const STATUSES = [200, 200, 200, 204, 301, 302, 307, 308, 404, 500, 503];
const PLACES = [
  'https://b.org/x',
  '/x',
  'http://b.org/',
  'data:,x',
  'file:///etc/passwd',
  '//c.org',
  '',
  'https://u:p@b.org',
];

function headers(maker: Maker): IncomingHttpHeaders {
  const value = () => maker.text(PIECES, 5);
  return {
    ...(maker.percent(60) ? { 'cache-control': value() } : {}),
    ...(maker.percent(40) ? { expires: value() } : {}),
    ...(maker.percent(40) ? { age: value() } : {}),
    ...(maker.percent(30) ? { location: maker.of(PLACES) } : {}),
  };
}

let answered: ReturnType<typeof answer>;
const wellKnown = new WellKnown({ request: async () => answered }, new ManualClock(0));
let hosts = 0;

function answer(maker: Maker) {
  const body = maker.percent(30) ? maker.bytes(40) : Buffer.from(maker.text(BODY_PIECES, 6));
  return { status: maker.of(STATUSES), headers: headers(maker), body };
}

export const properties = [
  property(
    'well-known is kept for 5 minutes to 48 hours, whatever its headers say',
    made((maker) => ({ headers: headers(maker), now: maker.below(2 ** 31) * 1000 })),
    (given) => {
      const lifetime = wellKnownLifetimeMs(given.headers, given.now);
      if (!(lifetime >= 5 * MINUTE && lifetime <= 48 * 60 * MINUTE)) throw new Error(`${lifetime} ms`);
    },
  ),
  asyncProperty(
    'well-known of any bytes, status and headers ⇒ a server name or none',
    made(answer),
    async (given) => {
      answered = given;
      const delegate = await wellKnown.delegate(`host${hosts++}.org`);
      if (delegate !== null && !isServerName(delegate)) throw new Error(`it delegates to ${delegate}`);
      if (delegate !== null && !given.body.includes(delegate)) throw new Error('that is not in it');
    },
  ),
];
