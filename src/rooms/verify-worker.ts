import { serveJobs } from '../platform/worker-jobs.ts';
import { type VerifyJob, type VerifyResult, workVerifyJob } from './verify-jobs.ts';

/** The worker thread of `createVerifyWorkers`. */
serveJobs<VerifyJob, VerifyResult>(workVerifyJob, (result) =>
  result.kind === 'outline'
    ? [
        result.outline.rest.state.buffer as ArrayBuffer,
        result.outline.rest.authChain.buffer as ArrayBuffer,
        ...result.outline.signers.map(({ times }) => times.buffer as ArrayBuffer),
      ]
    : [],
);
