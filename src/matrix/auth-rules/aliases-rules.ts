import { serverNameOf } from '../ids.ts';
import { type Pdu, stateKeyOf } from '../pdu.ts';
import { allowedIf, denied, type Verdict } from './verdict.ts';

/** Room versions 1–5, rule 4: each server keeps its aliases, whether its users are in the room or not. */
export function authoriseAliases(event: Pdu): Verdict {
  const stateKey = stateKeyOf(event);
  if (stateKey === null) return denied('m.room.aliases is no state');
  return allowedIf(
    serverNameOf(event.sender) === stateKey,
    "the aliases are of another server than the sender's",
  );
}
