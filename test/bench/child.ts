import { type ChildProcess, fork } from 'node:child_process';

export interface Memory {
  readonly rss: number;
  readonly heap: number;
}

/** A process of a benchmark: it says its port when it is ready, and answers questions. */
export class Child {
  readonly #process: ChildProcess;
  readonly port: number;

  private constructor(process: ChildProcess, port: number) {
    this.#process = process;
    this.port = port;
  }

  /** `flags` are further ones of Node's. */
  static async start(
    script: URL,
    args: readonly string[] = [],
    flags: readonly string[] = [],
  ): Promise<Child> {
    const process = fork(script, [...args], { execArgv: ['--expose-gc', ...flags], stdio: 'inherit' });
    const { port } = (await nextMessage(process)) as { port: number };
    return new Child(process, port);
  }

  async ask<Answer>(question: unknown): Promise<Answer> {
    const answer = nextMessage(this.#process);
    this.#process.send(question as object);
    return (await answer) as Answer;
  }

  /** What the process takes, in bytes, after a garbage collection: resident, and living objects. */
  memory(): Promise<Memory> {
    return this.ask<Memory>('memory');
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await exited;
  }
}

/** In the child: say the port, and answer `memory` and whatever `answer` knows. */
export function serveParent(
  port: number,
  answer: (question: unknown) => Promise<unknown> | unknown = () => null,
): void {
  process.on('message', async (question) => {
    if (question !== 'memory') {
      process.send?.(await answer(question));
      return;
    }
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const { rss, heapUsed } = process.memoryUsage();
    process.send?.({ rss, heap: heapUsed } satisfies Memory);
  });
  process.on('disconnect', () => process.exit());
  process.send?.({ port });
}

function nextMessage(process: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void =>
      reject(new Error(`A process of the benchmark ended: ${code}`));
    process.once('exit', onExit);
    process.once('message', (message) => {
      process.off('exit', onExit);
      resolve(message);
    });
  });
}
