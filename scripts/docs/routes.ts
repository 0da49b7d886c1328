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
    path: '^/_matrix/client/(r0|v3|unstable|api/v1)/(join|knock)/',
    why: 'joins of peeked rooms are noticed, and get the peeked servers to ask',
  },
  {
    path: '^/_matrix/client/(r0|v1|v3|unstable|api/v1)/rooms/[^/]+/(aliases|context|event|hierarchy|initialSync|join|joined_members|members|messages|read_markers|receipt|relations|state|summary|threads|timestamp_to_event)(/|$)',
    why: 'peeked rooms are read and joined, receipts of who only peeks held back, sync tokens turned back',
  },
  {
    path: '^/_matrix/client/(r0|v1|v3|unstable|api/v1)/(directory/room/|publicRooms$|room_summary/|im\\.nheko\\.summary/)',
    why: 'servers are learned that rooms may be peeked through; rooms are summed up that the homeserver does not know',
  },
  {
    path: '^/_matrix/client/(r0|v1|v3|unstable|api/v1)/(logout(/all)?$|devices/|delete_devices$|account/(deactivate|password)$|user/[^/]+/account_data/m\\.ignored_user_list$)',
    why: 'tokens that are good no longer, devices whose peeks end with them, and whom a user ignores, are noticed at once',
  },
  {
    path: '^/_matrix/client/(r0|v1|v3|unstable|api/v1)/(keys/changes$|events$|initialSync$)',
    why: 'rooms of others are previewed; sync tokens are turned back into those of the homeserver',
  },
  { path: '^/_synapse/admin/v1/rooms/[^/]+/messages$', why: 'the same' },
  {
    path: '^/_matrix/federation/v1/(send|peek|event|state|state_ids|event_auth|backfill|get_missing_events|timestamp_to_event)/',
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
