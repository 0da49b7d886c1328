import type { ListenAddress } from './kinds.ts';
import type { Secret } from './secret.ts';
import { SETTINGS, type Setting, type ValueOf } from './settings.ts';
import { settingsHelp } from './settings-text.ts';

type Values = { readonly [K in keyof typeof SETTINGS]: ValueOf<(typeof SETTINGS)[K]> };
type Grouped = 'tlsListen' | 'tlsCertPath' | 'tlsKeyPath' | 'registrationPath' | 'readerToken';

/** The checked settings: frozen to the bottom, durations in milliseconds. */
export type Config = DeepReadonly<Omit<Values, Grouped>> & {
  readonly tls: {
    readonly listen: ListenAddress;
    readonly certPath: string;
    readonly keyPath: string;
  } | null;
  /** Who reads our own rooms; null: peeking into them is off. */
  readonly reader:
    | { readonly kind: 'registration'; readonly path: string }
    | { readonly kind: 'token'; readonly token: Secret }
    | null;
};

type DeepReadonly<T> = T extends Secret
  ? T
  : T extends readonly (infer U)[]
    ? readonly DeepReadonly<U>[]
    : T extends object
      ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
      : T;

/** The environment does not make a configuration. The message lists every setting, then every problem, which so stay in sight. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const list = problems.map((problem) => `  - ${problem}`).join('\n');
    super(`The settings are:\n${settingsHelp()}\n\nThe settings cannot be used:\n${list}`);
    this.problems = problems;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the settings. A variable that is empty or only spaces counts as not set. Files that settings name are
 * not opened here. Throws `ConfigError` with all that is wrong.
 */
export function loadConfig(env: Environment): Config {
  const { values, problems } = readValues(env);
  problems.push(...contradictions(values, (setting) => textOf(env, setting) !== undefined));
  if (problems.length > 0) throw new ConfigError(problems);

  const { tlsListen, tlsCertPath, tlsKeyPath, registrationPath, readerToken, ...rest } = values as Values;
  return deepFreeze({
    ...rest,
    tls:
      tlsListen === null || tlsCertPath === null || tlsKeyPath === null
        ? null
        : { listen: tlsListen, certPath: tlsCertPath, keyPath: tlsKeyPath },
    reader:
      registrationPath !== null
        ? { kind: 'registration', path: registrationPath }
        : readerToken !== null
          ? { kind: 'token', token: readerToken }
          : null,
  });
}

/** The ops listener alone, for who only asks it. Throws `ConfigError` if that one setting is wrong. */
export function loadOpsListen(env: Environment): ListenAddress {
  const setting = SETTINGS.opsListen;
  const text = textOf(env, setting) ?? setting.default;
  const result = setting.kind.schema.safeParse(text);
  if (result.success) return result.data;
  throw new ConfigError(result.error.issues.map((issue) => problem(setting, text, issue.message)));
}

/** The values that could be read, and what was wrong with the others. */
function readValues(env: Environment): { values: Partial<Values>; problems: string[] } {
  const known = new Set<string>(Object.values(SETTINGS).map((setting) => setting.name));
  const problems = Object.keys(env)
    .filter((name) => name.startsWith('PEEK_') && env[name] !== undefined && !known.has(name))
    .map((name) => `${name} is not a setting`);
  const values: Record<string, unknown> = {};
  for (const [field, setting] of Object.entries<Setting>(SETTINGS)) {
    const text = textOf(env, setting) ?? setting.default ?? undefined;
    if (text === undefined && !setting.required) {
      values[field] = null;
      continue;
    }
    const result = setting.kind.schema.safeParse(text);
    if (result.success) values[field] = result.data;
    else problems.push(...result.error.issues.map((issue) => problem(setting, text, issue.message)));
  }
  return { values: values as Partial<Values>, problems };
}

function textOf(env: Environment, setting: Setting): string | undefined {
  return env[setting.name]?.trim() || undefined;
}

function problem(setting: Setting, text: string | undefined, message: string): string {
  const shown =
    text === undefined || setting.kind.secret ? '' : ` (it is ${JSON.stringify(text.slice(0, 120))})`;
  return `${setting.name} ${message}${shown}`;
}

/** Settings that are right by themselves but not beside each other. */
function contradictions(values: Partial<Values>, isSet: (setting: Setting) => boolean): string[] {
  const found: string[] = [];
  const tls: readonly Setting[] = [SETTINGS.tlsListen, SETTINGS.tlsCertPath, SETTINGS.tlsKeyPath];
  const missing = tls.filter((setting) => !isSet(setting));
  if (missing.length > 0 && missing.length < tls.length) {
    found.push(`${names(tls)} go together: ${names(missing)} not set`);
  }
  if (isSet(SETTINGS.registrationPath) && isSet(SETTINGS.readerToken)) {
    found.push(`${names([SETTINGS.registrationPath, SETTINGS.readerToken])} must not both be set`);
  }
  const { dormantAfter, expireAfter } = values;
  if (dormantAfter !== undefined && expireAfter !== undefined && dormantAfter >= expireAfter) {
    found.push(`${SETTINGS.dormantAfter.name} must be shorter than ${SETTINGS.expireAfter.name}`);
  }
  const places = new Map<string, Setting>();
  for (const field of ['listen', 'tlsListen', 'opsListen'] as const) {
    const place = values[field];
    if (!place || place.port === 0) continue;
    const key = JSON.stringify(place);
    const other = places.get(key);
    if (other !== undefined) found.push(`${names([other, SETTINGS[field]])} must not be the same`);
    places.set(key, SETTINGS[field]);
  }
  return found;
}

function names(settings: readonly Setting[]): string {
  return settings.map((setting) => setting.name).join(' and ');
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
