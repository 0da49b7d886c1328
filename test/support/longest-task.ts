/** How often the event loop is looked at, ms. */
const EVERY_MS = 2;

/**
 * The longest stretch of this thread's own work, in ms of its processor time, between two turns of the event
 * loop while `work` runs. Processor time, because what other processes of a busy machine take is not ours.
 */
export async function longestTask(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let before = spent();
  const timer = setInterval(() => {
    const now = spent();
    longest = Math.max(longest, now - before);
    before = now;
  }, EVERY_MS);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return Math.max(longest, spent() - before);
}

function spent(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
