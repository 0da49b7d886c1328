import { type Caller, type Homeserver, HomeserverRefusal } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { checkJson } from '../matrix/json-scan.ts';
import { parseFilter, type SyncFilter } from './filter.ts';

const TOO_MANY_REQUESTS = 429;

/** The filter of a `/sync`: none, inline, or stored at the homeserver under the user's name. */
export class DeviceFilters {
  readonly #homeserver: Homeserver;

  constructor(homeserver: Homeserver) {
    this.#homeserver = homeserver;
  }

  /**
   * With the homeserver's own bound on the limit. What the homeserver would refuse counts as no filter here: its own
   * answer tells the client. Rejects where it cannot say what a stored filter is: without it a section might show
   * what is not wanted, and be as large as the whole room.
   */
  async of(caller: Caller, userId: string, given: string | null): Promise<SyncFilter> {
    const filter = await this.#read(caller, userId, given);
    const { timelineLimit: limit } = filter;
    const most = this.#homeserver.mostTimelineEvents;
    return limit === null || limit <= most ? filter : { ...filter, timelineLimit: most };
  }

  async #read(caller: Caller, userId: string, given: string | null): Promise<SyncFilter> {
    if (given === null || given === '') return parseFilter({});
    if (given.startsWith('{')) return parseFilter(inline(given));
    try {
      return parseFilter(await this.#homeserver.filter(caller, userId, given));
    } catch (error) {
      if (error instanceof HomeserverRefusal && error.status !== TOO_MANY_REQUESTS) return parseFilter({});
      throw error;
    }
  }
}

function inline(text: string): JsonObject {
  try {
    checkJson(Buffer.from(text));
    const filter: unknown = JSON.parse(text);
    return isObject(filter) ? filter : {};
  } catch {
    return {};
  }
}
