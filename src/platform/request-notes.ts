import type { ServerResponse } from 'node:http';

/** Whom and what a request was about, for its line in the log. The user is the one whom the homeserver has named. */
export interface RequestNotes {
  readonly user?: string;
  readonly server?: string;
  readonly room?: string;
}

const notes = new WeakMap<ServerResponse, RequestNotes>();

/** Adds to what the line of this answer's request will say. */
export function noteRequest(res: ServerResponse, about: RequestNotes): void {
  notes.set(res, { ...notes.get(res), ...about });
}

/** What has been noted so far. */
export function notesOf(res: ServerResponse): RequestNotes {
  return notes.get(res) ?? {};
}
