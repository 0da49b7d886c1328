import type { AuthCase } from '../sketch.ts';
import { createCases } from './create.ts';
import { inviteCases } from './invite.ts';
import { joinCases } from './join.ts';
import { leaveCases } from './leave.ts';
import { powerLevelShapeCases } from './power-level-shapes.ts';
import { powerLevelCases } from './power-levels.ts';
import { sendCases } from './send.ts';
import { specialCases } from './special.ts';

export const allCases: readonly AuthCase[] = [
  ...createCases,
  ...joinCases,
  ...inviteCases,
  ...leaveCases,
  ...sendCases,
  ...specialCases,
  ...powerLevelCases,
  ...powerLevelShapeCases,
];
