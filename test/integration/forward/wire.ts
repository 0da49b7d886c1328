import net from 'node:net';

/** The head of a message as it came: start line, and `[name, value]` in order. */
export interface WireHead {
  readonly start: string;
  readonly headers: readonly (readonly [string, string])[];
}

/** One end of a bare TCP connection that speaks HTTP/1.1 by hand, so that tests see every byte. */
export class Wire {
  readonly socket: net.Socket;
  closed = false;
  /** The other side closed in order, not by a reset. */
  endedInOrder = false;
  #received: Buffer = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#changed();
    });
    socket.on('end', () => {
      this.endedInOrder = true;
      this.#changed();
    });
    socket.on('close', () => {
      this.closed = true;
      this.#changed();
    });
    socket.on('error', () => {});
  }

  static async connect(port: number): Promise<Wire> {
    const socket = net.connect({ port, host: '127.0.0.1' });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new Wire(socket);
  }

  write(data: string | Buffer): void {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
  }

  /** What came and was not read yet. */
  get pending(): string {
    return this.#received.toString('latin1');
  }

  async head(): Promise<WireHead> {
    await this.#until(() => this.#received.includes('\r\n\r\n'), 'a head');
    const end = this.#received.indexOf('\r\n\r\n');
    const [start = '', ...lines] = this.#take(end + 4)
      .toString('latin1')
      .slice(0, -4)
      .split('\r\n');
    return {
      start,
      headers: lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon), line.slice(colon + 1).trim()] as const;
      }),
    };
  }

  async bytes(count: number): Promise<Buffer> {
    await this.#until(() => this.#received.length >= count, `${count} bytes`);
    return this.#take(count);
  }

  /** The body that a head announces: by length, in chunks, or none. */
  async body(head: WireHead): Promise<Buffer> {
    const length = field(head, 'content-length');
    if (length !== undefined) return this.bytes(Number(length));
    if (field(head, 'transfer-encoding') === undefined) return Buffer.alloc(0);
    const parts: Buffer[] = [];
    for (;;) {
      const size = Number.parseInt(await this.line(), 16);
      const part = await this.bytes(size);
      await this.line();
      if (size === 0) return Buffer.concat(parts);
      parts.push(part);
    }
  }

  async line(): Promise<string> {
    await this.#until(() => this.#received.includes('\r\n'), 'a line');
    const end = this.#received.indexOf('\r\n');
    return this.#take(end + 2)
      .toString('latin1')
      .slice(0, -2);
  }

  /** Everything up to the end of the connection. */
  async rest(): Promise<string> {
    await this.#until(() => this.closed || this.endedInOrder, 'the end');
    return this.#take(this.#received.length).toString('latin1');
  }

  async gone(withinMs = 2000): Promise<void> {
    await this.#until(() => this.closed || this.endedInOrder, 'the connection to close', withinMs);
  }

  destroy(): void {
    this.socket.destroy();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  #take(count: number): Buffer {
    const taken = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return taken;
  }

  async #until(condition: () => boolean, what: string, withinMs = 5000): Promise<void> {
    const deadline = Date.now() + withinMs;
    while (!condition()) {
      const left = deadline - Date.now();
      if (left <= 0 || (this.closed && !condition())) {
        const state = this.closed ? 'closed' : 'open';
        throw new Error(
          `Waited for ${what}; connection ${state}; have ${JSON.stringify(this.pending.slice(0, 300))}`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  #changed(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resume of wake) resume();
  }
}

/** A homeserver made of bare connections, handed out in the order in which they came. */
export class WireServer {
  readonly #server: net.Server;
  readonly #waiting: ((wire: Wire) => void)[] = [];
  readonly #arrived: Wire[] = [];
  readonly wires: Wire[] = [];

  private constructor(server: net.Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      const wire = new Wire(socket);
      this.wires.push(wire);
      const waiting = this.#waiting.shift();
      if (waiting) waiting(wire);
      else this.#arrived.push(wire);
    });
  }

  static async listen(): Promise<WireServer> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new WireServer(server);
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  accept(): Promise<Wire> {
    const arrived = this.#arrived.shift();
    return arrived ? Promise.resolve(arrived) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async close(): Promise<void> {
    for (const wire of this.wires) wire.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function field(head: WireHead, name: string): string | undefined {
  return head.headers.find(([candidate]) => candidate.toLowerCase() === name)?.[1];
}

export function fields(head: WireHead, name: string): string[] {
  return head.headers.filter(([candidate]) => candidate.toLowerCase() === name).map(([, value]) => value);
}
