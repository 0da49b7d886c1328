import type { RequestHandler } from 'express';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import { alphanumeric, type Random } from '../platform/random.ts';
import { notesOf } from '../platform/request-notes.ts';

/**
 * One line for each request that comes here, which are those about peeks, of clients and of servers, with who asked
 * for what room as soon as that is known: no query, which may hold a token, and no body.
 */
export function requestLog(logger: Logger, clock: Clock, random: Random): RequestHandler {
  return (req, res, next) => {
    const id = alphanumeric(random, 10);
    const started = clock.now();
    const path = req.originalUrl.split('?', 1)[0];
    res.setHeader('X-Request-Id', id);
    res.once('close', () => {
      const ms = clock.now() - started;
      logger.info(
        { req: id, method: req.method, path, status: res.statusCode, ms, ...notesOf(res) },
        res.writableFinished ? 'answered' : 'the client went away',
      );
    });
    next();
  };
}
