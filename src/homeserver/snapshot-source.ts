import { type Homeserver, HomeserverDown } from './homeserver.ts';
import type { SelfFederation } from './self-federation.ts';

/** What a snapshot is read from. */
export type SnapshotSource = Pick<Homeserver, 'extremities' | 'event' | 'currentState'> &
  Pick<SelfFederation, 'eachStateBefore'>;

export function extremityLost(): HomeserverDown {
  return new HomeserverDown('the homeserver does not give an event that it named as the newest');
}
