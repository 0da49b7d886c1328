import type { ServerResponse } from 'node:http';

/** Says whether the answer was a 2xx. An answer that breaks off says nothing. */
export function whenAnswered(res: ServerResponse, tell: (ok: boolean) => unknown): void {
  const settle = () => void tell(res.statusCode >= 200 && res.statusCode < 300);
  if (res.writableFinished) settle();
  else res.once('finish', settle);
}
