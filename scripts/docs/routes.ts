/** A set of request paths that the proxy has a part in; everything else it passes through. */
export interface Route {
  /** An extended regular expression for the path, without the query. */
  readonly path: string;
  readonly why: string;
}

/** For deployments that send each path to a worker of its own: what has to go to the proxy first. */
export const ROUTES: readonly Route[] = [
  { path: '^/_matrix/client/(r0|v3|unstable)/sync$', why: 'peeked rooms are added' },
  {
    path: '^/_matrix/client/(r0|v3|unstable/org\\.matrix\\.msc2753)/(peek/|rooms/[^/]+/unpeek$)',
    why: 'MSC2753',
  },
  { path: '^/_matrix/client/versions$', why: 'says that peeking works here' },
  {
    path: '^/_matrix/client/(r0|v3|unstable|api/v1)/(join/|rooms/[^/]+/join$)',
    why: 'joins of peeked rooms are noticed',
  },
  {
    path: '^/_matrix/client/(r0|v1|v3|unstable|api/v1)/(rooms/[^/]+/(messages$|members$|initialSync$|relations/)|keys/changes$|events$|initialSync$)',
    why: 'sync tokens are turned back into those of the homeserver',
  },
  { path: '^/_synapse/admin/v1/rooms/[^/]+/messages$', why: 'the same' },
  {
    path: '^/_matrix/federation/v1/(send|peek|event|state|state_ids|event_auth|backfill|get_missing_events)/',
    why: 'MSC2444: peeks, what they bring, and reads by peeking servers',
  },
];

/** The routes as a Markdown table. */
export function routesTable(): string {
  const rows = ROUTES.map(({ path, why }) => `| \`${path.replaceAll('|', '\\|')}\` | ${why} |`);
  return ['| path | why |', '|---|---|', ...rows, ''].join('\n');
}

/** The routes as locations of nginx. */
export function routesForNginx(): string {
  return ROUTES.map(
    ({ path, why }) => `    # ${why}\n    location ~ ${path} { proxy_pass http://peek; }\n`,
  ).join('');
}
