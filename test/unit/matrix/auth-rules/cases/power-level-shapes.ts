import type { JsonObject } from '../../../../../src/matrix/json.ts';
import { ALICE, type AuthCase, LEVEL_FIELDS, state, USER } from '../sketch.ts';

function first(
  title: string,
  content: JsonObject,
  versions: readonly [number, number],
  denied?: string,
  synapseDiffers?: string,
): AuthCase {
  return {
    title: `the first power levels: ${title}`,
    versions,
    room: { levels: null },
    event: state('m.room.power_levels', ALICE, content),
    ...(denied === undefined ? {} : { denied }),
    ...(synapseDiffers === undefined ? {} : { synapseDiffers }),
  };
}

export const powerLevelShapeCases: AuthCase[] = [
  first('empty', {}, [1, 12]),
  first('more than the sender has', { users: { [USER]: 1000 }, ban: 1000 }, [1, 12]),
  first('unknown members are whatever', { more: 'x', historical: 'y' }, [1, 12]),
  first('users is an array', { users: [] }, [1, 12], 'users is no object'),
  first('users is null', { users: null }, [1, 12], 'users is no object'),
  first('users has no user ID', { users: { bob: 1 } }, [1, 12], 'than user IDs'),
  first('users has __proto__', JSON.parse('{"users":{"__proto__":1}}'), [1, 12], 'than user IDs'),
  first('users has a list', { users: { [USER]: [1] } }, [1, 12], 'than power levels'),
  first('users has null', { users: { [USER]: null } }, [1, 12], 'than power levels'),
  first('users has a text that is no number', { users: { [USER]: 'high' } }, [1, 12], 'than power levels'),
  first('users has an empty text', { users: { [USER]: '' } }, [1, 12], 'than power levels'),
  first('users has a text with a point', { users: { [USER]: '1.0' } }, [1, 12], 'than power levels'),
  first('users has a text with an exponent', { users: { [USER]: '1e2' } }, [1, 12], 'than power levels'),
  first('users has a hexadecimal text', { users: { [USER]: '0x10' } }, [1, 12], 'than power levels'),
  first('users has a text with two signs', { users: { [USER]: '+-1' } }, [1, 12], 'than power levels'),
  first('users has a text with _', { users: { [USER]: '1_0' } }, [10, 12], 'than power levels'),
  first('users has true', { users: { [USER]: true } }, [10, 12], 'than power levels'),
  first(
    'users has a text with _ where texts are read',
    { users: { [USER]: '1_0' } },
    [1, 9],
    'than power levels',
    'Python reads 1_0 as a number',
  ),
  first(
    'users has true where texts are read',
    { users: { [USER]: true } },
    [1, 9],
    'than power levels',
    'to Python true is a number',
  ),
  first('users has a text', { users: { [USER]: '50' } }, [1, 9]),
  first('users has a text with zeroes, sign and spaces', { users: { [USER]: ' -0050\n' } }, [1, 9]),
  first(
    'users has a text where integers are needed',
    { users: { [USER]: '50' } },
    [10, 12],
    'than power levels',
  ),
  first('users has a float', { users: { [USER]: 50.5 } }, [1, 5]),
  ...LEVEL_FIELDS.flatMap((field) => [
    first(`${field} is a text`, { [field]: '50' }, [1, 9]),
    first(`${field} is a text where integers are needed`, { [field]: '50' }, [10, 12], 'no integer'),
    first(`${field} is null where integers are needed`, { [field]: null }, [10, 12], 'no integer'),
  ]),
  ...['events', 'notifications'].flatMap((family) => [
    first(`${family} has a text`, { [family]: { 'm.x': '50' } }, [1, 9]),
    first(
      `${family} has a text where integers are needed`,
      { [family]: { 'm.x': '1' } },
      [10, 12],
      'than integers',
    ),
    first(
      `${family} has an object where integers are needed`,
      { [family]: { 'm.x': {} } },
      [10, 12],
      'than integers',
    ),
    first(`${family} is an array where integers are needed`, { [family]: [] }, [10, 12], 'than integers'),
    first(`${family} is null where integers are needed`, { [family]: null }, [10, 12], 'than integers'),
    first(`${family} has __proto__`, JSON.parse(`{"${family}":{"__proto__":5}}`), [1, 12]),
  ]),
];
