/** Whether peeking is on, and if not, why and what to do. The pass-through goes on either way. */
export class PeekingSwitch {
  #off: { readonly reason: string; readonly advice: string } | null = {
    reason: 'the homeserver has not answered yet',
    advice: 'Start the homeserver, or check PEEK_HOMESERVER_URL.',
  };

  /** The process is ending, and nothing new begins. */
  ending = false;

  get on(): boolean {
    return this.#off === null;
  }

  get off(): { readonly reason: string; readonly advice: string } | null {
    return this.#off;
  }

  turnOn(): void {
    if (!this.ending) this.#off = null;
  }

  /** For good. */
  end(): void {
    this.ending = true;
    this.turnOff('the proxy is ending', 'Start it again.');
  }

  turnOff(reason: string, advice: string): void {
    this.#off = { reason, advice };
  }
}
