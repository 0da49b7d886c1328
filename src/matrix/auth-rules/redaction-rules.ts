import { serverNameOf } from '../ids.ts';
import { type AuthContext, levelOf } from './auth-state.ts';
import { actionLevel } from './power-levels.ts';
import { allowedIf, type Verdict } from './verdict.ts';

/**
 * Room versions 1 and 2, rule 11: the redact level, or both event IDs of one server. Later versions authorise
 * every redaction like any event and judge when it is applied ("Handling redactions").
 */
export function authoriseRedaction(context: AuthContext): Verdict {
  const { event, eventId, levels } = context;
  const target = typeof event.redacts === 'string' ? serverNameOf(event.redacts) : null;
  return allowedIf(
    levelOf(event.sender, context) >= actionLevel('redact', levels) ||
      (target !== null && target === serverNameOf(eventId)),
    'the sender may not redact events of other servers',
  );
}
