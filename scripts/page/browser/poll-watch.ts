/** A single failure may be a restart of the homeserver: the SDK polls again after half a minute. */
const FAILURES_TOLD = 2;

/**
 * Sees how the polls for what is new in a previewed room (`GET /events?room_id=…`) end, which the SDK only logs.
 * `fetch` is what the SDK has to fetch with.
 */
export class PollWatch {
  /** Called after each poll, with what to tell the visitor, which is `''` when it went well. */
  tell: (problem: string) => void = () => {};
  readonly fetch: typeof globalThis.fetch;
  #failures = 0;

  constructor(fetch: typeof globalThis.fetch) {
    this.fetch = async (resource, options) => {
      const isPoll = pollsRoom(resource);
      try {
        const response = await fetch(resource, options);
        if (isPoll) this.#answered(response.status);
        return response;
      } catch (error) {
        if (isPoll) this.#failed('cannot be reached');
        throw error;
      }
    };
  }

  #answered(status: number): void {
    if (status < 300) {
      this.#failures = 0;
      this.tell('');
    } else if (status >= 500 || status === 429) {
      this.#failed(`answers ${status}`);
    } else {
      this.tell(
        `The preview has ended: the homeserver answers ${status} to it. Open it anew: load this page again.`,
      );
    }
  }

  #failed(how: string): void {
    if (++this.#failures < FAILURES_TOLD) return;
    this.tell(
      `The preview has stopped: the homeserver ${how}. It goes on once that is over; if it does not, load this page again.`,
    );
  }
}

function pollsRoom(resource: Parameters<typeof globalThis.fetch>[0]): boolean {
  const { pathname, searchParams } = new URL(resource instanceof Request ? resource.url : resource);
  return pathname.endsWith('/events') && searchParams.has('room_id');
}
