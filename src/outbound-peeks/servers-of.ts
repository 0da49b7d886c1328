import type { OutboundPeek } from '../store/store.ts';

/** Who has a room that we peek into: the servers of these peeks, those in trouble last, then other candidates. */
export function serversOf(
  peeks: readonly OutboundPeek[],
  mostOthers: number,
  isTroubled: (server: string) => boolean,
): string[] {
  const through = [...new Set(peeks.map(({ server }) => server))];
  const candidates = new Set(peeks.flatMap((peek) => peek.candidates));
  const others = [...candidates].filter((server) => !through.includes(server));
  const inOrder = through.toSorted((a, b) => Number(isTroubled(a)) - Number(isTroubled(b)));
  return [...inOrder, ...others.slice(0, mostOthers)];
}
