import { properties as canonicalJson } from './properties/canonical-json.ts';
import { properties as ids } from './properties/ids.ts';
import { properties as jsonBytes } from './properties/json-bytes.ts';
import { properties as pdus } from './properties/pdus.ts';
import { properties as serverAcl } from './properties/server-acl.ts';
import { properties as syncFilters } from './properties/sync-filters.ts';
import { properties as syncTokens } from './properties/sync-tokens.ts';
import { properties as wellKnown } from './properties/well-known.ts';
import { properties as xMatrix } from './properties/x-matrix.ts';
import type { Property } from './property.ts';

/** By the name under which `npm run fuzz -- NAME` finds them. */
export const PROPERTIES: Readonly<Record<string, readonly Property[]>> = {
  'canonical-json': canonicalJson,
  'x-matrix': xMatrix,
  ids,
  'well-known': wellKnown,
  'json-bytes': jsonBytes,
  'server-acl': serverAcl,
  'sync-tokens': syncTokens,
  'sync-filters': syncFilters,
  pdus,
};
