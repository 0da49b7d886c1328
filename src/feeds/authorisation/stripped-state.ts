import { closingReason } from '../../rooms/readable.ts';
import type { VerifiedEvent } from '../../rooms/verify-event.ts';

/** Why stripped state is not taken. */
export const STRIPPED = 'its content is not the one that its hash is of';

/**
 * State whose content does not have its hash. What is left of it would become current: an access control list
 * without content denies everybody. So it is as if it had not been sent, and the room is asked for anew. What closes
 * the room still does, since that much its sender's server has signed.
 */
export function isStripped({ redacted, pdu }: VerifiedEvent): boolean {
  return redacted && typeof pdu.state_key === 'string' && closingReason(pdu) === null;
}
