import { decodePart, encodePart, type OurPart } from './peek-part.ts';

export { deviceHash, type OurPart } from './peek-part.ts';

/**
 * How our part rides on the homeserver's sync token.
 *
 * `ninth-field`: Synapse's stream tokens are fields joined by `_`; the ninth of them (the *groups* key, of a
 * feature long gone) is parsed as a whole number and not looked at. Our part takes its place as one decimal
 * number, and the number that stood there is kept inside it. So the bare homeserver takes the token as it is.
 *
 * `suffix`: for any other token, `.PEEK.` and base64url behind it. All of it may stand in a URL unescaped;
 * Synapse's own tokens have no upper-case letters, and Dendrite ignores what follows a `.`, so that it takes
 * such a token too.
 */
export type TokenMode = 'ninth-field' | 'suffix';

const MARK = '.PEEK.';
const GROUPS_FIELD = 8;
/** No 64-bit number of a homeserver is longer; our shortest number has more digits than this. */
const HOMESERVER_DIGITS = 19;
/** Synapse was seen to take 1 500 digits; Python refuses to read a number of more than 4 300. */
const MAX_DIGITS = 4000;
/** What Synapse writes in the groups field. */
const GROUPS_AT_REST = '0';

/**
 * The homeserver's own token with our part in it. Where `ninth-field` is asked for but there is no such field,
 * no ordinary number in it, or more peeks than a number may hold, it is a suffix all the same.
 */
export function wrapToken(homeserverToken: string, ours: OurPart, mode: TokenMode): string {
  const inField = mode === 'ninth-field' ? wrapInField(homeserverToken, ours) : null;
  return inField ?? `${homeserverToken}${MARK}${encodePart(ours, 0).toString('base64url')}`;
}

/**
 * Takes a token apart. `homeserver` is what goes upstream. A token without a part of ours comes back unchanged,
 * with `ours: null`; so does one whose part is garbled or foreign, but with that part taken out. Never throws.
 */
export function unwrapToken(token: string): { homeserver: string; ours: OurPart | null } {
  const mark = token.lastIndexOf(MARK);
  if (mark >= 0) {
    const text = token.slice(mark + MARK.length);
    const bytes = Buffer.from(text, 'base64url');
    const part = bytes.toString('base64url') === text ? decodePart(bytes) : null;
    return { homeserver: token.slice(0, mark), ours: part?.ours ?? null };
  }
  const fields = token.split('_');
  const groups = fields[GROUPS_FIELD];
  if (groups === undefined || groups.length <= HOMESERVER_DIGITS || !/^[0-9]+$/.test(groups)) {
    return { homeserver: token, ours: null };
  }
  const part = groups.length <= MAX_DIGITS ? decodePart(bytesOfNumber(groups)) : null;
  fields[GROUPS_FIELD] = part === null ? GROUPS_AT_REST : String(part.kept);
  return { homeserver: fields.join('_'), ours: part?.ours ?? null };
}

function wrapInField(homeserverToken: string, ours: OurPart): string | null {
  if (homeserverToken.includes(MARK)) return null;
  const fields = homeserverToken.split('_');
  const groups = fields[GROUPS_FIELD] ?? '';
  const kept = Number(groups);
  if (String(kept) !== groups || !Number.isSafeInteger(kept) || kept < 0) return null;
  const number = BigInt(`0x${encodePart(ours, kept).toString('hex')}`).toString();
  if (number.length > MAX_DIGITS) return null;
  fields[GROUPS_FIELD] = number;
  return fields.join('_');
}

/** Big-endian. The first byte of ours has its top bit set, so its hexadecimal form has an even length. */
function bytesOfNumber(digits: string): Buffer {
  return Buffer.from(BigInt(digits).toString(16), 'hex');
}
