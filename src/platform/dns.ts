import { lookup, Resolver } from 'node:dns/promises';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

export interface SrvRecord {
  /** Without a trailing dot; `''` where the record says that there is no such service. */
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** Name resolution, passed in. */
export interface Dns {
  /** A and AAAA, CNAMEs followed. Rejects when there is none or no answer. */
  lookup(host: string): Promise<ResolvedAddress[]>;
  /** SRV records in no particular order; none when the name does not exist. Rejects when there is no answer. */
  srv(name: string): Promise<SrvRecord[]>;
}

/** The system's resolver (`/etc/hosts` included for addresses). */
export function systemDns(): Dns {
  const resolver = new Resolver({ timeout: 2500, tries: 2 });
  return {
    async lookup(host) {
      const found = await lookup(host, { all: true });
      return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));
    },
    async srv(name) {
      try {
        const found = await resolver.resolveSrv(name);
        return found.map((record) => ({
          target: record.name.replace(/\.$/, ''),
          port: record.port,
          priority: record.priority,
          weight: record.weight,
        }));
      } catch (error) {
        if (error instanceof Error && 'code' in error && NO_SUCH_NAME.has(error.code)) return [];
        throw error;
      }
    },
  };
}

const NO_SUCH_NAME: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA']);
