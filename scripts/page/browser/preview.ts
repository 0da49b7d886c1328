import { byId, show } from './elements.ts';
import { attempt, showRoom } from './room-view.ts';
import { findRoom, startSession } from './session.ts';

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

form.onsubmit = (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  const text = (name: string) => String(fields.get(name) ?? '').trim();
  attempt(async () => {
    const client = await startSession({
      homeserver: text('homeserver'),
      user: text('user'),
      password: String(fields.get('password') ?? ''),
    });
    const found = await findRoom(client, text('room'), address.getAll('via'));
    show('enter', false);
    await showRoom(client, found);
  })();
};
