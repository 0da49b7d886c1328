import { stateKeyOf } from '../pdu.ts';
import type { AuthContext } from './auth-state.ts';
import { authoriseInvite } from './invite-rules.ts';
import { authoriseJoin } from './join-rules.ts';
import { authoriseKnock } from './knock-rules.ts';
import { authoriseBan, authoriseLeave } from './leave-rules.ts';
import { denied, type Verdict } from './verdict.ts';

/**
 * `m.room.member`: rule 5 in versions 1–5 and 12, 4 in between. That the server of
 * `join_authorised_via_users_server` signed the event is for the caller to verify (`requiredSigners`).
 */
export function authoriseMember(context: AuthContext): Verdict {
  const target = stateKeyOf(context.event);
  if (target === null) return denied('m.room.member is no state');
  switch (context.event.content.membership) {
    case 'join':
      return authoriseJoin(target, context);
    case 'invite':
      return authoriseInvite(target, context);
    case 'leave':
      return authoriseLeave(target, context);
    case 'ban':
      return authoriseBan(target, context);
    case 'knock':
      if (context.rules.auth.knock) return authoriseKnock(target, context);
  }
  return denied('the membership is missing or unknown');
}
