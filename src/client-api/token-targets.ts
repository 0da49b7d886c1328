import { unwrapToken } from '../client-sync/sync-token.ts';
import { rawQuery, replaceParameter } from '../client-view/client-request.ts';

const CLIENT = `^/_matrix/client/(?:r0|v1|v3|unstable|api/v1)`;

/** Every place besides `/sync` that takes a stream token of the `/sync` family, with its parameters. */
const PLACES: readonly { readonly path: RegExp; readonly parameters: readonly string[] }[] = [
  { path: new RegExp(`${CLIENT}/rooms/[^/]+/(?:messages|initialSync)$`), parameters: ['from', 'to'] },
  { path: new RegExp(`${CLIENT}/rooms/[^/]+/relations/.+$`), parameters: ['from', 'to'] },
  { path: new RegExp(`${CLIENT}/rooms/[^/]+/members$`), parameters: ['at'] },
  { path: new RegExp(`${CLIENT}/(?:keys/changes|events|initialSync)$`), parameters: ['from', 'to'] },
  { path: /^\/_synapse\/admin\/v1\/rooms\/[^/]+\/messages$/, parameters: ['from', 'to'] },
];

/** The target as the homeserver has to see it: its own tokens instead of ours. Unchanged where there are none. */
export function withHomeserverTokens(url: string): string {
  const query = rawQuery(url);
  if (query === '') return url;
  const path = url.slice(0, url.length - query.length - 1);
  const place = PLACES.find((candidate) => candidate.path.test(path));
  if (place === undefined) return url;
  const given = new URLSearchParams(query);
  let target = url;
  for (const name of place.parameters) {
    const token = given.get(name);
    if (token === null) continue;
    const { homeserver } = unwrapToken(token);
    if (homeserver !== token) target = replaceParameter(target, name, homeserver);
  }
  return target;
}
