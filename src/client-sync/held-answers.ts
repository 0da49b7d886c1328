/** How much may be held. The answer to an initial sync of the largest accounts has some tens of MB, twice while merged. */
export interface HeldLimits {
  /** Requests of one device that are merged at a time: a client has one, and a second while it starts anew. */
  readonly requestsPerDevice: number;
  /** Bytes of the homeserver's answers, and of their copies with our rooms, for one device … */
  readonly bytesPerDevice: number;
  /** … and for all. */
  readonly bytesInAll: number;
  /** An answer that is no larger is held whatever others hold: nobody takes another's peeks away. */
  readonly alwaysHeldBytes: number;
}

const LIMITS: HeldLimits = {
  requestsPerDevice: 8,
  bytesPerDevice: 256 * 1024 * 1024,
  bytesInAll: 512 * 1024 * 1024,
  alwaysHeldBytes: 1024 * 1024,
};

/** What one answer or copy of it holds of memory. */
export interface Share {
  /** Whether this many bytes (in all, not more than before) may be held; if so they count. */
  grow(bytes: number): boolean;
  /** It holds nothing any more; more than once does no harm. */
  end(): void;
}

interface Holder {
  requests: number;
  bytes: number;
  shares: number;
}

/**
 * How much of the homeserver's `/sync` answers is held here to be merged, for each device and in all. What does not
 * fit is streamed to the client as any other answer, without peeked rooms.
 */
export class HeldAnswers {
  readonly #holders = new Map<string, Holder>();
  readonly #limits: HeldLimits;
  #bytes = 0;

  constructor(limits: Partial<HeldLimits> = {}) {
    this.#limits = { ...LIMITS, ...limits };
  }

  /** One request more of a device: what ends it; null if there are too many. */
  enter(device: string): (() => void) | null {
    const holder = this.#holder(device);
    if (holder.requests >= this.#limits.requestsPerDevice) return null;
    holder.requests++;
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      holder.requests--;
      this.#tidy(device, holder);
    };
  }

  open(device: string): Share {
    const holder = this.#holder(device);
    holder.shares++;
    let held = 0;
    let open = true;
    const count = (bytes: number): void => {
      holder.bytes += bytes - held;
      this.#bytes += bytes - held;
      held = bytes;
    };
    return {
      grow: (bytes) => {
        if (!open) return false;
        const more = bytes - held;
        if (holder.bytes + more > this.#limits.bytesPerDevice) return false;
        if (bytes > this.#limits.alwaysHeldBytes && this.#bytes + more > this.#limits.bytesInAll)
          return false;
        count(bytes);
        return true;
      },
      end: () => {
        if (!open) return;
        open = false;
        count(0);
        holder.shares--;
        this.#tidy(device, holder);
      },
    };
  }

  #holder(device: string): Holder {
    const known = this.#holders.get(device);
    if (known !== undefined) return known;
    const holder = { requests: 0, bytes: 0, shares: 0 };
    this.#holders.set(device, holder);
    return holder;
  }

  #tidy(device: string, { requests, shares }: Holder): void {
    if (requests === 0 && shares === 0) this.#holders.delete(device);
  }
}
