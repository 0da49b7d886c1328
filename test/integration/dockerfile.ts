import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, stat } from 'node:fs/promises';
import { basename, join, posix } from 'node:path';
import { promisify } from 'node:util';

export interface Stage {
  readonly name: string;
  readonly base: string;
  readonly steps: readonly { readonly instruction: string; readonly text: string }[];
}

/** What an image made of a Dockerfile is, as far as starting it is concerned. */
export interface Image {
  /** The folder that stands for `/`. */
  readonly root: string;
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly volumes: readonly string[];
  readonly exposed: readonly string[];
  readonly healthcheck: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
}

/** Takes a Dockerfile apart into its stages. */
export function parseDockerfile(text: string): Stage[] {
  const stages: { name: string; base: string; steps: { instruction: string; text: string }[] }[] = [];
  const lines = text.split('\n').filter((line) => !/^\s*(#|$)/.test(line));
  for (const line of lines.join('\n').replaceAll(/\\\n/g, ' ').split('\n')) {
    const [, instruction = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    if (instruction === 'FROM') {
      const [, base = '', name = ''] = /^(\S+)(?:\s+AS\s+(\S+))?$/.exec(rest) ?? [];
      stages.push({ name, base, steps: [] });
    } else stages.at(-1)?.steps.push({ instruction, text: rest });
  }
  return stages;
}

/**
 * Does in plain folders what a container engine would do: copies what the Dockerfile copies, if `.dockerignore`
 * lets it into the build, and runs its npm commands. Throws on an instruction that it does not know, so that the
 * Dockerfile cannot come to mean something that is not tried.
 */
export async function buildImage(context: string, folder: string, env: NodeJS.ProcessEnv): Promise<Image> {
  const ignore = await readFile(join(context, '.dockerignore'), 'utf8');
  const stages = parseDockerfile(await readFile(join(context, 'Dockerfile'), 'utf8'));
  const roots = new Map<string, string>();
  let image: Image | undefined;
  for (const [index, stage] of stages.entries()) {
    const root = join(folder, stage.name || `stage-${index}`);
    roots.set(stage.name, root);
    image = await new StageBuild({ context, ignore, root, roots, env }).run(stage);
  }
  if (image === undefined) throw new Error('the Dockerfile has no stage');
  return image;
}

interface Surroundings {
  readonly context: string;
  readonly ignore: string;
  readonly root: string;
  readonly roots: ReadonlyMap<string, string>;
  readonly env: NodeJS.ProcessEnv;
}

class StageBuild {
  readonly #at: Surroundings;
  #workdir = '/';
  readonly #env: Record<string, string> = {};
  #user = 'root';
  readonly #volumes: string[] = [];
  readonly #exposed: string[] = [];
  #healthcheck: string[] = [];
  #entrypoint: string[] = [];
  #command: string[] = [];

  constructor(at: Surroundings) {
    this.#at = at;
  }

  async run(stage: Stage): Promise<Image> {
    await mkdir(this.#at.root, { recursive: true });
    for (const { instruction, text } of stage.steps) await this.#step(instruction, text);
    return {
      root: this.#at.root,
      workdir: this.#inside(this.#workdir),
      env: this.#env,
      user: this.#user,
      volumes: this.#volumes,
      exposed: this.#exposed,
      healthcheck: this.#healthcheck,
      entrypoint: this.#entrypoint,
      command: this.#command,
    };
  }

  async #step(instruction: string, text: string): Promise<void> {
    switch (instruction) {
      case 'WORKDIR':
        this.#workdir = posix.resolve(this.#workdir, text);
        await mkdir(this.#inside(this.#workdir), { recursive: true });
        return;
      case 'COPY':
        return this.#copy(text.split(/\s+/));
      case 'RUN':
        return this.#run(text);
      case 'ENV':
        for (const [, name = '', value = ''] of text.matchAll(/(\w+)=(\S+)/g)) this.#env[name] = value;
        return;
      case 'USER':
        this.#user = text;
        return;
      case 'VOLUME':
        this.#volumes.push(text);
        return;
      case 'EXPOSE':
        this.#exposed.push(text);
        return;
      case 'HEALTHCHECK':
        this.#healthcheck = commandOf(text.replace(/^.*?\bCMD\s+/, ''));
        return;
      case 'ENTRYPOINT':
        this.#entrypoint = commandOf(text);
        return;
      case 'CMD':
        this.#command = commandOf(text);
        return;
      default:
        throw new Error(`what ${instruction} does is not known here`);
    }
  }

  async #copy(words: string[]): Promise<void> {
    const from = words[0]?.startsWith('--from=') ? words.shift()?.slice('--from='.length) : undefined;
    const target = words.pop() ?? '';
    const to = this.#inside(posix.resolve(this.#workdir, target));
    for (const word of words) {
      const source = from === undefined ? this.#fromContext(word) : this.#fromStage(from, word);
      const into = target.endsWith('/') && !(await stat(source)).isDirectory();
      await cp(source, into ? join(to, basename(source)) : to, { recursive: true, verbatimSymlinks: true });
    }
  }

  #fromContext(path: string): string {
    const lines = this.#at.ignore.split('\n').filter((line) => !/^\s*(#|$)/.test(line));
    if (lines[0] !== '*') throw new Error('.dockerignore does not begin by leaving out everything');
    const named = lines.some((line) => line === `!${path}`);
    if (!named) throw new Error(`.dockerignore keeps ${path} out of the build`);
    return join(this.#at.context, path);
  }

  #fromStage(name: string, path: string): string {
    const root = this.#at.roots.get(name);
    if (root === undefined) throw new Error(`there is no stage ${name}`);
    return join(root, path);
  }

  async #run(command: string): Promise<void> {
    const made = /^install -d -o node -g node -m 0700 (\/\S+)$/.exec(command)?.[1];
    if (made !== undefined) {
      await mkdir(this.#inside(made), { recursive: true });
      return;
    }
    if (!/^npm [\w= -]+$/.test(command))
      throw new Error(`what this does outside of an image is not known: ${command}`);
    await promisify(execFile)('/bin/sh', ['-c', command], {
      cwd: this.#inside(this.#workdir),
      env: this.#at.env,
    });
  }

  #inside(path: string): string {
    return join(this.#at.root, path);
  }
}

function commandOf(text: string): string[] {
  return JSON.parse(text) as string[];
}
