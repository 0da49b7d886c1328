import { type AuthContext, levelOf, membershipOf } from './auth-state.ts';
import { actionLevel } from './power-levels.ts';
import { authoriseThirdPartyInvite } from './third-party-invite-rules.ts';
import { allowedIf, denied, type Verdict } from './verdict.ts';

/** `membership: invite` of `m.room.member`. */
export function authoriseInvite(target: string, context: AuthContext): Verdict {
  const { event, levels } = context;
  const membership = membershipOf(target, context);
  if (event.content.third_party_invite !== undefined) {
    return membership === 'ban'
      ? denied('who is banned cannot be invited')
      : authoriseThirdPartyInvite(target, context);
  }
  if (membershipOf(event.sender, context) !== 'join') return denied('the sender is not in the room');
  if (membership === 'join' || membership === 'ban') {
    return denied('who is joined or banned cannot be invited');
  }
  return allowedIf(
    levelOf(event.sender, context) >= actionLevel('invite', levels),
    'the sender may not invite',
  );
}
