import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';

/** The system's list of names that need no DNS; read again when it has changed. */
export class HostsFile {
  readonly #path: string;
  #modified = -1;
  #names = new Map<string, string[]>();

  constructor(path = '/etc/hosts') {
    this.#path = path;
  }

  /** The addresses of a name, in their order; none where it is not in the file, or there is no file. */
  async addresses(name: string): Promise<readonly string[]> {
    try {
      const { mtimeMs } = await stat(this.#path);
      if (mtimeMs !== this.#modified) {
        this.#names = parsed(await readFile(this.#path, 'utf8'));
        this.#modified = mtimeMs;
      }
    } catch {
      this.#names = new Map();
      this.#modified = -1;
    }
    return this.#names.get(name.toLowerCase()) ?? [];
  }
}

/** `address name name… # comment`, line by line. */
function parsed(text: string): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address = '', ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (isIP(address) === 0) continue;
    for (const alias of aliases) {
      const name = alias.toLowerCase();
      names.set(name, [...(names.get(name) ?? []), address]);
    }
  }
  return names;
}
