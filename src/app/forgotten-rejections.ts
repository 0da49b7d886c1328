import type { Logger } from '../platform/log.ts';

/**
 * The last resort: a promise that rejects and that nobody waits for is a mistake of ours, and is logged as one,
 * with its stack. It does not end the process, which everybody's traffic goes through.
 */
export function logForgottenRejections(process: Pick<NodeJS.Process, 'on'>, logger: Logger): void {
  process.on('unhandledRejection', (reason) => {
    const err = reason instanceof Error ? reason : new Error(String(reason));
    logger.error({ err }, 'a promise was rejected that nobody waits for: this is a mistake in the proxy');
  });
}
