import type { Caller, Homeserver } from '../homeserver/homeserver.ts';
import { isObject, type JsonObject } from '../matrix/json.ts';
import { checkJson } from '../matrix/json-scan.ts';
import { parseFilter, type SyncFilter } from './filter.ts';

/** The filter of a `/sync`: none, inline, or stored at the homeserver under the user's name. */
export class DeviceFilters {
  readonly #homeserver: Homeserver;

  constructor(homeserver: Homeserver) {
    this.#homeserver = homeserver;
  }

  /**
   * With the homeserver's own bound on the limit. What the homeserver would refuse counts as no filter here: its own
   * answer tells the client.
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
    } catch {
      return parseFilter({});
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
