import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startForwarding, WAYS, type Way } from './forwarding.ts';
import type { Wire } from './wire.ts';

const HOST = 'Host: a\r\n';
/** What must never be a request of its own. */
const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';

interface Request {
  readonly start: string;
  readonly body: string;
}

/** The requests of one upstream connection as a strict reader sees them; each is answered. */
async function requestsOf(wire: Wire): Promise<Request[]> {
  const requests: Request[] = [];
  for (;;) {
    const head = await wire.head().catch(() => null);
    if (head === null) return requests;
    const body = await wire.body(head).catch(() => null);
    if (body === null) return requests;
    requests.push({ start: head.start, body: body.toString('latin1') });
    wire.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
  }
}

/** What upstream got of these bytes, and how the client was answered. */
async function sent(way: Way, bytes: string): Promise<{ upstream: Request[]; statuses: number[] }> {
  const { upstream, client } = await startForwarding(way);
  const wire = await client();
  const reading: Promise<Request[]>[] = [];
  void (async () => {
    for (;;) reading.push(requestsOf(await upstream.accept()));
  })();
  wire.write(bytes);
  // A body that breaks off when its request is under way already ends the connection without an answer.
  const answered = await wire.head().catch(() => null);
  await sleep(40);
  const statuses = [...`${answered?.start}\r\n${wire.pending}`.matchAll(/HTTP\/1\.1 ([0-9]{3}) /g)].map(
    ([, status]) => Number(status),
  );
  for (const up of upstream.wires) up.destroy();
  return { upstream: (await Promise.all(reading)).flat(), statuses };
}

describe.each(WAYS)(
  'CL+TE, TE.CL, `TE: chunked, identity`, bare LF, obs-fold, space before colon, %s',
  (way) => {
    it.each([
      [
        'CL+TE',
        `POST /x HTTP/1.1\r\n${HOST}Content-Length: ${HIDDEN.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'TE.CL',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${(HIDDEN.length).toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`,
      ],
      [
        'TE: chunked, identity',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'TE: identity, chunked',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'two TE',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'TE with a control character',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'two lengths',
        `POST /x HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      ],
      ['a list of lengths', `POST /x HTTP/1.1\r\n${HOST}Content-Length: 0, 0\r\n\r\n${HIDDEN}`],
      ['a length in hexadecimal', `POST /x HTTP/1.1\r\n${HOST}Content-Length: 0x0\r\n\r\n${HIDDEN}`],
      [
        'a length that overflows',
        `POST /x HTTP/1.1\r\n${HOST}Content-Length: 18446744073709551616\r\n\r\n${HIDDEN}`,
      ],
      ['bare LF at the end of a line', `GET /x HTTP/1.1\n${HOST}\n${HIDDEN}`],
      ['bare LF in a value', `GET /x HTTP/1.1\r\n${HOST}X: 1\n\n${HIDDEN}\r\n\r\n`],
      ['bare CR in a value', `GET /x HTTP/1.1\r\n${HOST}X: 1\r\r${HIDDEN}\r\n\r\n`],
      ['obs-fold', `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${HIDDEN}`],
      [
        'obs-fold of a length',
        `POST /x HTTP/1.1\r\n${HOST}X: 1\r\n Content-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      ],
      [
        'space before colon',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'space before a name',
        `POST /x HTTP/1.1\r\n ${HOST}Content-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      ],
      [
        'a chunk size with a sign',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n${HIDDEN}`,
      ],
      [
        'a chunk that is longer than its size',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n${HIDDEN}`,
      ],
      [
        'a chunk size that overflows',
        `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n${HIDDEN}`,
      ],
      ['bytes before the request line', `\0\r\nGET /x HTTP/1.1\r\n${HOST}\r\n${HIDDEN}`],
    ])('%s ⇒ 400 or the connection cut, and nothing of what follows is a request', async (_, bytes) => {
      const { upstream, statuses } = await sent(way, bytes);
      expect(upstream.filter(({ start }) => start.includes('/hidden'))).toEqual([]);
      expect(upstream.length).toBeLessThanOrEqual(1);
      expect(statuses.filter((status) => status !== 400)).toEqual([]);
    });

    it('a second request in the chunks, their extensions or the trailers of the first stays part of it', async () => {
      const size = HIDDEN.length.toString(16);
      for (const [framed, body] of [
        [`${size}\r\n${HIDDEN}\r\n0\r\n\r\n`, HIDDEN],
        [`${size};a="b"\r\n${HIDDEN}\r\n0\r\n\r\n`, HIDDEN],
        [`2\r\n{}\r\n0\r\nX: ${HIDDEN.split('\r\n')[0]}\r\n\r\n`, '{}'],
      ] as const) {
        const bytes = `POST /x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${framed}`;
        const { upstream, statuses } = await sent(way, bytes);
        expect(upstream).toEqual([{ start: 'POST /x HTTP/1.1', body }]);
        expect(statuses).toEqual([200]);
      }
    });
  },
);

describe.each(WAYS)('absolute-form and CONNECT requests ⇒ 400, %s', (way) => {
  it.each([
    ['absolute-form', `GET http://other.example/x HTTP/1.1\r\n${HOST}\r\n`],
    ['absolute-form, own host', `GET http://a/x HTTP/1.1\r\n${HOST}\r\n`],
    [
      'absolute-form, the homeserver’s scheme',
      `GET matrix-federation://other.example/x HTTP/1.1\r\n${HOST}\r\n`,
    ],
    ['authority-form', `GET other.example:443 HTTP/1.1\r\n${HOST}\r\n`],
    ['CONNECT', `CONNECT other.example:443 HTTP/1.1\r\n${HOST}\r\n`],
    ['CONNECT to a path', `CONNECT /x HTTP/1.1\r\n${HOST}\r\n`],
  ])('%s', async (_, bytes) => {
    expect(await sent(way, bytes)).toEqual({ upstream: [], statuses: [400] });
  });

  it('what follows CONNECT on its connection is no request', async () => {
    const { upstream, statuses } = await sent(way, `CONNECT a:80 HTTP/1.1\r\n${HOST}\r\n${HIDDEN}`);
    expect([upstream, statuses]).toEqual([[], [400]]);
  });
});
