import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type Json, send } from '../support/http.ts';
import { listeningPorts, processesWith } from '../support/process-traces.ts';
import { type RunningProcess, startProcess } from '../support/processes.ts';
import { node, repositoryRoot, workDirectory } from '../support/work.ts';

/** A second run is meant to take less than a minute; a machine on which everything runs at once gets ten. */
const MOST_MS = 600_000;
const LATEST_END_MS = 15_000;
const POLL_MS = 100;
const MARK = 'DEMO_TEST_RUN';
/** 128 + SIGINT. */
const INTERRUPTED = 130;

/** A run of the demo, in a process group of its own, as a shell makes one. */
class Demo {
  readonly process: RunningProcess;
  readonly #mark: string = randomUUID();
  readonly #log = join(workDirectory('runs', `${process.pid}-demo`), `${this.#mark}.log`);

  constructor(...args: string[]) {
    this.process = startProcess(node, ['scripts/run.js', 'scripts/demo.ts', ...args], {
      cwd: repositoryRoot,
      env: { ...process.env, [MARK]: this.#mark },
      log: this.#log,
    });
  }

  get output(): string {
    return readFileSync(this.#log, 'utf8');
  }

  get processes(): number[] {
    return processesWith(MARK, this.#mark);
  }

  /** Waits until it has printed this, and gives all that it has printed. */
  async untilPrinted(text: string): Promise<string> {
    await until(`the demo prints ${text}`, MOST_MS, () => {
      if (!this.process.running() && !this.output.includes(text))
        throw new Error(`it ended:\n${this.output}`);
      return this.output.includes(text);
    });
    return this.output;
  }

  /** Ctrl-C: SIGINT to the whole process group. */
  interrupt(): Promise<number> {
    process.kill(-this.process.pid, 'SIGINT');
    return this.process.exited;
  }

  async end(): Promise<void> {
    await this.process.kill();
    for (const pid of this.processes) process.kill(pid, 'SIGKILL');
  }
}

describe.runIf(process.platform === 'linux')('The demo', () => {
  let demo: Demo;
  afterEach(() => demo?.end());

  /** The two homeservers and their proxies, with at least three ports each. */
  function portsInUse(): number[] {
    const ports = listeningPorts(demo.processes);
    expect(ports.length).toBeGreaterThanOrEqual(8);
    return ports;
  }

  async function expectNothingLeft(ports: readonly number[]): Promise<void> {
    await until('all processes have ended', LATEST_END_MS, () => demo.processes.length === 0);
    // A process that is ending closes its sockets last, when /proc has nothing of it any more.
    await until('all ports are closed', LATEST_END_MS, async () => {
      const open = await Promise.all(ports.map(listens));
      return !open.includes(true);
    });
  }

  it(
    'exits 0 in less than ten minutes and leaves no process and no listening port',
    async () => {
      const started = performance.now();
      demo = new Demo();
      await demo.untilPrinted('\n 2  ');
      const ports = portsInUse();
      expect([await demo.process.exited, demo.output]).toEqual([
        0,
        expect.stringContaining('All of it held'),
      ]);
      expect(performance.now() - started).toBeLessThan(MOST_MS);
      await expectNothingLeft(ports);
    },
    MOST_MS,
  );

  it.each([
    [['--help'], 0, /^Usage: npm run demo/],
    [['--keeep'], 2, /^Unknown option '--keeep'.*\.\n\nUsage: npm run demo/],
  ])('%j prints the usage and nothing else, starts nothing, and exits %i', async (args, code, output) => {
    demo = new Demo(...args);
    expect([await demo.process.exited, demo.output]).toEqual([code, expect.stringMatching(output)]);
    expect(demo.output).not.toMatch(/starting|\n {4}at /);
  });

  it(
    'SIGINT half-way leaves no process and no listening port',
    async () => {
      demo = new Demo();
      await demo.untilPrinted('\n 2  ');
      const ports = portsInUse();
      expect(await demo.interrupt()).toBe(INTERRUPTED);
      expect(demo.output).not.toContain('All of it held');
      await expectNothingLeft(ports);
    },
    MOST_MS,
  );

  it(
    '--keep prints addresses, accounts and three curl lines that work, and ends on SIGINT',
    async () => {
      demo = new Demo('--keep');
      const output = await demo.untilPrinted('"msgtype":"m.text"');
      const addresses = [
        ...output.matchAll(/for clients (\S+), health (\S+)\/health, Synapse itself (\S+)/g),
      ];
      expect(addresses).toHaveLength(2);
      for (const [, proxy = '', ops = '', synapse = ''] of addresses) {
        expect((await send(proxy, 'GET', '/_matrix/client/versions')).status).toBe(200);
        expect((await send(ops, 'GET', '/health')).status).toBe(200);
        expect((await send(synapse, 'GET', '/health')).status).toBe(200);
      }

      const clientsOfB = addresses[1]?.[1] ?? '';
      const password = /the password of each is "([^"]+)"/.exec(output)?.[1] ?? '';
      for (const user of ['bob', 'carol', 'visitor']) {
        const identifier = { type: 'm.id.user', user };
        const body = { type: 'm.login.password', identifier, password: password.replace('NAME', user) };
        expect((await send(clientsOfB, 'POST', '/_matrix/client/v3/login', { body })).status).toBe(200);
      }

      const curls = output.split('\n').filter((line) => line.trim().startsWith('curl '));
      expect(curls).toHaveLength(3);
      const [peek, sync, message] = [await ask(curls[0]), await ask(curls[1]), await ask(curls[2])];
      expect(Object.keys((sync.rooms as { peek: Json }).peek)).toEqual([peek.room_id]);
      expect(message.event_id).toMatch(/^\$/);

      const page = new URL(/http:\S+\?homeserver=\S+/.exec(output)?.[0] ?? '');
      expect(page.searchParams.get('homeserver')).toBe(clientsOfB);
      expect((await send(page.origin, 'GET', '/')).text).toContain('<title>Room preview</title>');

      const ports = portsInUse();
      expect(await demo.interrupt()).toBe(INTERRUPTED);
      await expectNothingLeft(ports);
    },
    MOST_MS,
  );
});

/** Does what the curl line says; it has to be answered with 200. */
async function ask(curl = ''): Promise<Json> {
  const method = / -X([A-Z]+) /.exec(curl)?.[1] ?? 'GET';
  const authorization = / -H 'Authorization: ([^']+)'/.exec(curl)?.[1] ?? '';
  const url = new URL(/'(http[^']+)'/.exec(curl)?.[1] ?? '');
  const data = / -d '([^']+)'/.exec(curl)?.[1];
  const answer = await send(url.origin, method, url.pathname, {
    headers: { authorization },
    ...(data !== undefined && { body: JSON.parse(data) }),
  });
  expect([curl, answer.status]).toEqual([curl, 200]);
  return answer.body;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.setTimeout(1_000, () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}

async function until(what: string, withinMs: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Not so within ${withinMs} ms: ${what}`);
    await sleep(POLL_MS);
  }
}
