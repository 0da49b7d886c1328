import { type Logger, pino } from 'pino';

export type { Logger };

/** One JSON object a line on stdout. Tokens, keys and event content never go into a log line. */
export function createLogger(level: string): Logger {
  return pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}
