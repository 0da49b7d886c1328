import type { RemoteServers } from '../remote-servers/remote-servers.ts';

/**
 * Whether a peeked server takes every `PUT` for a new peek. Dendrite does: a second one with the same peek ID
 * ends its process, its `DELETE` runs the handler of `PUT`, and it knows no renewal. Towards such a server each
 * `PUT` has a new peek ID, and a peek that is no longer wanted is forgotten. It sends the events of its own users
 * alone, so it is asked for the others' from time to time. A server that does not say what it is counts as an
 * ordinary one.
 */
export async function takesEachPutAnew(remote: RemoteServers, server: string): Promise<boolean> {
  return (await remote.software(server))?.name === 'Dendrite';
}
