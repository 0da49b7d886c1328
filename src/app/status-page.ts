import type { Health } from './health.ts';

/** What `/health` says, for people. Holds nothing that a script would have to be trusted with. */
export function statusPage(health: Health): string {
  const rows: [string, string][] = [
    ['Status', health.status],
    ['Version', health.version],
    ['Up for', `${health.uptime_seconds} s`],
    ['Peeking', peeking(health)],
    ['Problem', either(health, 'problem')],
    ['Advice', either(health, 'advice')],
    ['Store', `${health.store.kind}, ${health.store.up ? 'up' : `down: ${health.store.problem ?? ''}`}`],
    ['Feeds', `${health.feeds.resident} resident, ${health.feeds.remote} remote`],
    ['Peeks of devices', String(health.peeks.device ?? 'unknown')],
    ['Previews', String(health.peeks.previews ?? 'unknown')],
    ['Inbound peeks', String(health.peeks.inbound ?? 'unknown')],
    ['… most of them of', inboundServers(health)],
    ['Outbound peeks', String(health.peeks.outbound)],
    ['Held syncs', String(health.held_syncs)],
  ];
  for (const { room, through } of health.remote_rooms) {
    const servers = through.map(({ server, heard, reason, again }) => {
      const retry = again === undefined ? '' : `; asked again at ${again}`;
      return `${server} (${reason === undefined ? '' : `${reason}${retry}; `}heard ${heard})`;
    });
    rows.push([`Peeked: ${room}`, `through ${servers.join(' and ')}`]);
  }
  const cells = rows
    .map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`)
    .join('\n');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10">
<title>matrix-peek-proxy</title>
<style>body{font:16px/1.5 system-ui;margin:2rem}th{text-align:left;padding-right:2rem}</style></head>
<body><h1>matrix-peek-proxy</h1><table>
${cells}
</table></body></html>
`;
}

function peeking({ status, homeserver }: Health): string {
  if (!homeserver.peeking) return `off: ${homeserver.problem ?? ''}`;
  return status === 'red' ? 'on, and waits until the problem is gone' : 'on';
}

function inboundServers({ inbound_servers: servers }: Health): string {
  return servers.map(({ server, peeks }) => `${server} (${peeks})`).join(', ') || '–';
}

/** What the homeserver and the store have of it. */
function either({ homeserver, store }: Health, what: 'problem' | 'advice'): string {
  return [homeserver[what], store[what]].filter((text) => text !== undefined).join(' – ') || '–';
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
