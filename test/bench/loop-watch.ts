/** Watches how long the event loop of this thread stands still. */
export class LoopWatch {
  #stall = 0;
  #work = 0;
  #last = { at: performance.now(), cpu: threadCpu() };
  readonly #timer = setInterval(() => this.#look(), 2);

  /**
   * In ms: how long the loop stood still at most, and how much of that this thread computed. Others on the machine
   * make it stand still too; what it computes is its own.
   */
  end(): { stall: number; work: number } {
    this.#look();
    clearInterval(this.#timer);
    return { stall: this.#stall, work: this.#work };
  }

  #look(): void {
    const now = { at: performance.now(), cpu: threadCpu() };
    const stall = now.at - this.#last.at;
    this.#stall = Math.max(this.#stall, stall);
    this.#work = Math.max(this.#work, Math.min(stall, now.cpu - this.#last.cpu));
    this.#last = now;
  }
}

function threadCpu(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
