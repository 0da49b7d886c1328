import { connect, type Socket } from 'node:net';
import { serveParent } from './child.ts';

export interface Load {
  readonly port: number;
  readonly path: string;
  readonly connections: number;
  readonly durationMs: number;
  /** The access token; by default one of its own. */
  readonly token?: string;
}

export interface Measured {
  readonly perSecond: number;
  /** Median time of a request, in milliseconds. */
  readonly p50: number;
}

export interface Hold {
  readonly port: number;
  readonly path: string;
  readonly held: number;
}

const HEAD_END = Buffer.from('\r\n\r\n');
const BODY_LENGTH = /content-length: (\d+)/i;
const held: Socket[] = [];

serveParent(0, (question) => {
  if (isHold(question)) return hold(question);
  return run(question as Load);
});

function isHold(question: unknown): question is Hold {
  return typeof question === 'object' && question !== null && 'held' in question;
}

/** Bare sockets that send the same request again as soon as it is answered. */
async function run(load: Load): Promise<Measured> {
  const request = requestBytes(load.path, load.token);
  const times: number[] = [];
  const started = performance.now();
  const end = started + load.durationMs;
  await Promise.all(
    Array.from({ length: load.connections }, () => keepAsking(load.port, request, end, times)),
  );
  const seconds = (performance.now() - started) / 1000;
  times.sort((a, b) => a - b);
  return { perSecond: times.length / seconds, p50: times[times.length >> 1] ?? Number.NaN };
}

function keepAsking(port: number, request: Buffer, end: number, times: number[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let asked = 0;
    let missing = -1;
    const ask = (): void => {
      asked = performance.now();
      missing = -1;
      socket.write(request);
    };
    socket.once('connect', ask);
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      if (missing === -1) {
        const headEnd = chunk.indexOf(HEAD_END);
        const length = BODY_LENGTH.exec(chunk.toString('latin1', 0, headEnd))?.[1];
        if (headEnd === -1 || length === undefined)
          throw new Error('An answer that the load client cannot read');
        missing = headEnd + HEAD_END.length + Number(length);
      }
      missing -= chunk.length;
      if (missing > 0) return;
      const now = performance.now();
      times.push(now - asked);
      if (now < end) ask();
      else socket.end(resolve);
    });
  });
}

/** Opens polls that are never answered; the earlier ones are let go. */
async function hold({ port, path, held: count }: Hold): Promise<null> {
  for (const socket of held.splice(0)) socket.destroy();
  const request = requestBytes(path);
  for (let i = 0; i < count; i += 50) {
    await Promise.all(
      Array.from({ length: Math.min(50, count - i) }, async () => {
        const socket = connect({ port, host: '127.0.0.1' });
        held.push(socket);
        await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
        socket.write(request);
      }),
    );
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  return null;
}

function requestBytes(path: string, token = 'syt_dXNlcg_abcdefghijklmnopqrst_1abcde'): Buffer {
  const head = [
    `GET ${path} HTTP/1.1`,
    'Host: matrix.example.org',
    'User-Agent: Element/1.12 (a browser of some kind; like another one)',
    'Accept: application/json',
    'Accept-Encoding: gzip, deflate, br',
    'Accept-Language: en-GB,en;q=0.5',
    `Authorization: Bearer ${token}`,
    'Origin: https://app.example.org',
    'Referer: https://app.example.org/',
    'Connection: keep-alive',
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n`);
}
