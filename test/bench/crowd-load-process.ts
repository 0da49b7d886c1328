import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { serveParent } from './child.ts';

/** Polls to be held at a port: so many of devices that peek nothing, so many of devices that peek. */
export interface Holding {
  readonly port: number;
  readonly plain: number;
  readonly peekers: number;
}

/** When the peeking devices had their answers, on the clock that all processes share, in ms. */
export interface Arrivals {
  readonly first: number;
  readonly last: number;
}

const AT_ONCE = 50;
const SETTLE_MS = 300;
const HEAD_END = '\r\n\r\n';
const held: Socket[] = [];
const peekers: Peeker[] = [];

/** A device that peeks: it holds a poll, and comes again with the token that it was given. */
class Peeker {
  readonly #socket: Socket;
  readonly #port: number;
  readonly #name: string;
  #received = '';
  #answered: (body: string) => void = () => {};
  #since = '';
  /** The poll that waits, and when it was answered. */
  arrival: Promise<number> = Promise.resolve(0);

  constructor(port: number, name: string) {
    this.#port = port;
    this.#name = name;
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk) => this.#read(chunk.toString('latin1')));
    this.#socket.on('error', () => undefined);
  }

  async begin(): Promise<void> {
    await new Promise((resolve, reject) => this.#socket.once('connect', resolve).once('error', reject));
    await this.#ask('timeout=0');
    this.poll();
  }

  poll(): void {
    const answered = this.#ask(`since=${this.#since}&timeout=30000`);
    this.arrival = answered.then(() => performance.timeOrigin + performance.now());
  }

  end(): void {
    this.#socket.destroy();
  }

  async #ask(query: string): Promise<void> {
    const body = new Promise<string>((resolve) => {
      this.#answered = resolve;
    });
    this.#socket.write(request(this.#port, `/_matrix/client/v3/sync?${query}`, this.#name));
    const { next_batch: since } = JSON.parse(await body) as { next_batch: string };
    this.#since = since;
  }

  #read(text: string): void {
    this.#received += text;
    const headEnd = this.#received.indexOf(HEAD_END);
    const length = Number(/content-length: (\d+)/i.exec(this.#received.slice(0, headEnd))?.[1]);
    const bodyStart = headEnd + HEAD_END.length;
    if (headEnd === -1 || this.#received.length < bodyStart + length) return;
    const body = this.#received.slice(bodyStart, bodyStart + length);
    this.#received = this.#received.slice(bodyStart + length);
    this.#answered(body);
  }
}

serveParent(0, (question) =>
  question === 'arrivals' ? arrivals() : question === 'again' ? again() : hold(question as Holding),
);

async function hold({ port, plain, peekers: count }: Holding): Promise<null> {
  for (const socket of held.splice(0)) socket.destroy();
  for (const peeker of peekers.splice(0)) peeker.end();
  for (let n = 0; n < count; n++) {
    const peeker = new Peeker(port, `peeker${n}`);
    peekers.push(peeker);
    await peeker.begin();
  }
  for (let n = 0; n < plain; n += AT_ONCE) {
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, plain - n) }, (_, i) => plainPoll(port, `plain${n + i}`)),
    );
  }
  await sleep(SETTLE_MS);
  return null;
}

async function plainPoll(port: number, name: string): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' });
  held.push(socket);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => undefined);
  socket.write(request(port, '/_matrix/client/v3/sync?since=s1&timeout=30000', name));
}

/** Waits until every device that peeks has been answered. */
async function arrivals(): Promise<Arrivals> {
  const times = await Promise.all(peekers.map(({ arrival }) => arrival));
  return { first: Math.min(...times), last: Math.max(...times) };
}

async function again(): Promise<null> {
  for (const peeker of peekers) peeker.poll();
  await sleep(SETTLE_MS);
  return null;
}

function request(port: number, path: string, name: string): string {
  const head = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'User-Agent: Element/1.12 (a browser of some kind; like another one)',
    'Accept: application/json',
    `Authorization: Bearer ${name}`,
    'Origin: https://app.example.org',
    'Connection: keep-alive',
  ];
  return `${head.join('\r\n')}\r\n\r\n`;
}
