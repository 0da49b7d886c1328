import { byId, show } from './elements.ts';
import { attempt } from './problem.ts';
import { showRoom } from './room-view.ts';
import { findRoom, type Session, startSession } from './session.ts';

/**
 * A room of another server, shown as today's clients preview it. The page's address may have `homeserver`,
 * `room` (ID or alias), `user`, and `via` (repeatable) for a room that is named by its ID.
 */
const address = new URLSearchParams(location.search);
const form = byId<HTMLFormElement>('enter');
for (const name of ['homeserver', 'room', 'user']) {
  const field = form.elements.namedItem(name);
  const value = address.get(name);
  if (field instanceof HTMLInputElement && value !== null) field.value = value;
}

const lookIn = byId<HTMLButtonElement>('look-in');
form.onsubmit = (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  const text = (name: string) => String(fields.get(name) ?? '').trim();
  attempt(async () => {
    lookIn.disabled = true;
    try {
      const session = await startSession({
        homeserver: text('homeserver'),
        user: text('user'),
        password: String(fields.get('password') ?? ''),
      });
      await enter(session, text('room'));
    } finally {
      lookIn.disabled = false;
    }
  })();
};

/** Shows the room. Where there is none, the session ends: the next try makes another. */
async function enter(session: Session, room: string): Promise<void> {
  const { client, signOut } = session;
  let found: Awaited<ReturnType<typeof findRoom>>;
  try {
    await client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true });
    found = await findRoom(client, room, address.getAll('via'));
  } catch (error) {
    client.stopClient();
    await signOut?.().catch(() => {});
    throw error;
  }
  if (signOut)
    byId('sign-out').onclick = attempt(async () => {
      await signOut();
      location.reload();
    });
  show('sign-out', signOut !== undefined);
  show('enter', false);
  await showRoom(session, found);
}
