import { eventIdOf } from '../event-id.ts';
import { prevEventIds } from '../pdu.ts';
import { type AuthContext, levelOf, membershipOf } from './auth-state.ts';
import { creatorOf } from './creators.ts';
import { actionLevel } from './power-levels.ts';
import { ALLOWED, allowedIf, denied, type Verdict } from './verdict.ts';

/** `membership: join` of `m.room.member`. */
export function authoriseJoin(target: string, context: AuthContext): Verdict {
  const { sender } = context.event;
  if (isCreatorsFirstJoin(target, context)) return ALLOWED;
  if (sender !== target) return denied('nobody joins for somebody else');
  const membership = membershipOf(target, context);
  if (membership === 'ban') return denied('who is banned cannot join');
  const wasLetIn = membership === 'invite' || membership === 'join';
  const { knock, restricted, knockRestricted } = context.rules.auth;
  switch (joinRuleOf(context)) {
    case 'public':
      return ALLOWED;
    case 'invite':
      return allowedIf(wasLetIn, 'the sender is not invited');
    case 'knock':
      if (knock) return allowedIf(wasLetIn, 'the sender is not invited');
      break;
    case 'restricted':
      if (restricted) return wasLetIn ? ALLOWED : authoriseRestrictedJoin(context);
      break;
    case 'knock_restricted':
      if (knockRestricted) return wasLetIn ? ALLOWED : authoriseRestrictedJoin(context);
      break;
  }
  return denied('the join rule lets nobody in');
}

/** The room's join rule: `invite` where it has none; undefined where it is no text. */
export function joinRuleOf({ state }: AuthContext): string | undefined {
  const rule = state('m.room.join_rules', '')?.content.join_rule ?? 'invite';
  return typeof rule === 'string' ? rule : undefined;
}

/** Right after the create event, which is all there is. */
function isCreatorsFirstJoin(target: string, { event, create, rules }: AuthContext): boolean {
  if (target !== creatorOf(create, rules)) return false;
  const [only, ...others] = prevEventIds(event, rules);
  if (only === undefined || others.length > 0) return false;
  try {
    return only === eventIdOf(create, rules);
  } catch {
    return false;
  }
}

/** Room versions 8 on: somebody in the room who may invite stands for the joiner. */
function authoriseRestrictedJoin(context: AuthContext): Verdict {
  const authoriser = context.event.content.join_authorised_via_users_server;
  if (typeof authoriser !== 'string') return denied('nobody authorised the restricted join');
  if (membershipOf(authoriser, context) !== 'join')
    return denied('who authorised the join is not in the room');
  return allowedIf(
    levelOf(authoriser, context) >= actionLevel('invite', context.levels),
    'who authorised the join may not invite',
  );
}
