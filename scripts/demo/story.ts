import type { Answer } from '../../test/support/client.ts';

/** An expectation of the demo that did not hold. */
export class ExpectationError extends Error {
  override readonly name = 'ExpectationError';
}

const WIDTH = 100;

/** Prints numbered steps: what was sent, what came back and after how long, and what was checked. */
export class Story {
  #number = 0;
  #title = '';

  /** Where the story is, for the reason of a failure. */
  get place(): string {
    return this.#number === 0 ? 'the start' : `step ${this.#number}, ${this.#title}`;
  }

  step(title: string): void {
    this.#title = title;
    console.log(`\n${String(++this.#number).padStart(2)}  ${title}`);
  }

  note(text: string): void {
    console.log(`    ${text}`);
  }

  /** Prints the request line, waits, prints the answer: its status, what `pick` takes of it, the time. */
  async exchange(
    request: string,
    answer: Promise<Answer>,
    pick: (answer: Answer) => unknown = ({ body }) => body,
  ): Promise<Answer> {
    console.log(`    → ${request}`);
    const received = await answer;
    const text = cut(`${received.status} ${JSON.stringify(pick(received))}`);
    console.log(`    ← ${text}  (${Math.round(received.ms)} ms)`);
    return received;
  }

  /** States what holds, or ends the story. */
  check(holds: boolean, claim: string): void {
    if (!holds) throw new ExpectationError(`not so: ${claim}`);
    console.log(`    ✓ ${claim}`);
  }
}

/** The middle one of an odd number of values. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function cut(text: string): string {
  return text.length <= WIDTH ? text : `${text.slice(0, WIDTH - 1)}…`;
}
