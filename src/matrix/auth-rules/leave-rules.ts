import { type AuthContext, levelOf, membershipOf } from './auth-state.ts';
import { actionLevel } from './power-levels.ts';
import { allowedIf, denied, type Verdict } from './verdict.ts';

/** `membership: leave` of `m.room.member`: to leave, to refuse an invite, to kick, to unban. */
export function authoriseLeave(target: string, context: AuthContext): Verdict {
  const { event, levels, rules } = context;
  const membership = membershipOf(event.sender, context);
  if (event.sender === target) {
    return allowedIf(
      membership === 'join' || membership === 'invite' || (rules.auth.knock && membership === 'knock'),
      'the sender is not in the room',
    );
  }
  if (membership !== 'join') return denied('the sender is not in the room');
  const level = levelOf(event.sender, context);
  if (membershipOf(target, context) === 'ban' && !(level >= actionLevel('ban', levels))) {
    return denied('the sender may not unban');
  }
  return allowedIf(
    level >= actionLevel('kick', levels) && levelOf(target, context) < level,
    'the sender may not kick this user',
  );
}

/** `membership: ban` of `m.room.member`. */
export function authoriseBan(target: string, context: AuthContext): Verdict {
  const { event, levels } = context;
  if (membershipOf(event.sender, context) !== 'join') return denied('the sender is not in the room');
  const level = levelOf(event.sender, context);
  return allowedIf(
    level >= actionLevel('ban', levels) && levelOf(target, context) < level,
    'the sender may not ban this user',
  );
}
