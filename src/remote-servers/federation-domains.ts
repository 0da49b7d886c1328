import { isServerName } from '../matrix/ids.ts';

/** Which servers we have to do with. */
export interface FederationDomains {
  /** Our own name, an invalid one and one that is not on the list (if there is one) are not allowed. */
  allows(server: string): boolean;
}

/** `allowed`: the names on the list, as the homeserver's own list of federation partners; null: all. */
export function federationDomains(
  ownName: string,
  allowed: readonly string[] | null = null,
): FederationDomains {
  const own = ownName.toLowerCase();
  const names = allowed === null ? null : new Set(allowed.map((name) => name.toLowerCase()));
  return {
    allows(server) {
      const name = server.toLowerCase();
      return name !== own && isServerName(server) && (names === null || names.has(name));
    },
  };
}
