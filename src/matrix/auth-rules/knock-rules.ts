import { type AuthContext, membershipOf } from './auth-state.ts';
import { joinRuleOf } from './join-rules.ts';
import { allowedIf, denied, type Verdict } from './verdict.ts';

/** `membership: knock` of `m.room.member` (room versions 7 on). */
export function authoriseKnock(target: string, context: AuthContext): Verdict {
  const rule = joinRuleOf(context);
  if (rule !== 'knock' && !(context.rules.auth.knockRestricted && rule === 'knock_restricted')) {
    return denied('the join rule does not let anybody knock');
  }
  if (context.event.sender !== target) return denied('nobody knocks for somebody else');
  const membership = membershipOf(target, context);
  return allowedIf(
    membership !== 'ban' && membership !== 'invite' && membership !== 'join',
    'who is banned, invited or joined cannot knock',
  );
}
