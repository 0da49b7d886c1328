import {
  ClientEvent,
  EventType,
  KnownMembership,
  type MatrixEvent,
  RelationType,
  type Room,
  RoomEvent,
  RoomStateEvent,
} from 'matrix-js-sdk';
import { byId, show } from './elements.ts';
import { attempt, tellProblem } from './problem.ts';
import type { FoundRoom, Session } from './session.ts';

/** Events of one press on "Earlier messages". */
const PAGE = 30;
/** Who has scrolled no further up than this, in pixels, reads the newest messages and is kept there. */
const NEAR = 40;

/** Shows the room and what happens in it, first as a preview, then, once it is joined, as a member. */
export async function showRoom({ client, polls }: Session, found: FoundRoom): Promise<void> {
  const { roomId, viaServers } = found;
  let isLive = true;
  const room = (): Room | null => client.getRoom(roomId);
  const isMember = () => room()?.getMyMembership() === KnownMembership.Join;
  const draw = () => render(room(), roomId, statusOf(isMember(), isLive), isMember());

  byId('join').onclick = attempt(async () => {
    await client.joinRoom(roomId, { viaServers: [...viaServers] });
  });
  const earlier = attempt(async () => {
    const present = room();
    if (present) await client.scrollback(present, PAGE);
    draw();
  });
  byId('earlier').onclick = earlier;
  const compose = byId<HTMLFormElement>('compose');
  compose.onsubmit = (event) => {
    event.preventDefault();
    const text = String(new FormData(compose).get('text'));
    compose.reset();
    attempt(() => client.sendTextMessage(roomId, text))();
  };

  polls.tell = (problem) => {
    isLive = problem === '';
    tellProblem('preview', problem);
    draw();
  };
  const endPreview = () => {
    client.stopPeeking();
    polls.tell = () => {};
    tellProblem('preview', '');
  };
  const ofThisRoom = (changed: string | undefined) => {
    if (changed !== roomId) return;
    if (isMember()) endPreview();
    draw();
  };
  client.on(RoomEvent.Timeline, (_event, changed) => ofThisRoom(changed?.roomId));
  client.on(RoomEvent.MyMembership, (changed) => ofThisRoom(changed.roomId));
  client.on(RoomEvent.LocalEchoUpdated, (_event, changed) => ofThisRoom(changed.roomId));
  client.on(ClientEvent.Room, (changed) => ofThisRoom(changed.roomId));
  // A homeserver that has just joined may begin the timeline anew, with the join.
  client.on(RoomEvent.TimelineReset, (changed) => {
    if (changed?.roomId === roomId) setTimeout(earlier);
  });
  client.on(RoomStateEvent.Events, (event) => {
    if (event.getRoomId() !== roomId) return;
    room()?.recalculate();
    draw();
  });

  show('room', true);
  draw();
  if (!isMember()) await client.peekInRoom(roomId);
  draw();
}

function statusOf(isMember: boolean, isLive: boolean): string {
  if (isMember) return 'You are in this room.';
  return isLive ? 'You look in from outside.' : 'You looked in from outside: nothing new is shown.';
}

function render(room: Room | null, roomId: string, status: string, isMember: boolean): void {
  const topic = room?.currentState.getStateEvents(EventType.RoomTopic, '')?.getContent().topic;
  byId('name').textContent = room?.name ?? roomId;
  byId('topic').textContent = typeof topic === 'string' ? topic : '';
  byId('status').textContent = status;
  show('join', !isMember);
  show('compose', isMember);
  show('earlier', room !== null && room.oldState.paginationToken !== null);
  const lines = (room?.timeline ?? []).map(line).filter((entry) => entry !== undefined);
  const atEnd = innerHeight + scrollY >= document.body.scrollHeight - NEAR;
  update(byId('messages'), lines);
  if (atEnd) scrollTo(0, document.body.scrollHeight);
}

/** Gives the list these entries, and leaves those alone that are there already. */
function update(list: HTMLElement, entries: readonly HTMLLIElement[]): void {
  const present = new Map([...list.children].map((child) => [child.getAttribute('data-event-id'), child]));
  for (const [i, entry] of entries.entries()) {
    const old = present.get(entry.dataset.eventId ?? '');
    const wanted = old?.isEqualNode(entry) ? old : entry;
    const there = list.children[i] ?? null;
    if (there !== wanted) list.insertBefore(wanted, there);
  }
  while (list.children.length > entries.length) list.lastElementChild?.remove();
}

/** One entry of the list; none for what only changes or describes another. */
function line(event: MatrixEvent): HTMLLIElement | undefined {
  if (event.isRelation(RelationType.Replace)) return undefined;
  const entry = document.createElement('li');
  entry.dataset.eventId = event.getId() ?? '';
  const sender = event.sender?.name ?? event.getSender() ?? '';
  if (event.getType() === EventType.RoomMessage && !event.isRedacted()) {
    const name = document.createElement('span');
    name.className = 'sender';
    name.textContent = sender;
    const body = document.createElement('span');
    body.className = 'body';
    body.textContent = String(event.getContent().body ?? '');
    entry.append(name, body);
    return entry;
  }
  entry.className = 'notice';
  entry.textContent = `${sender} ${notice(event)}`;
  return entry;
}

function notice(event: MatrixEvent): string {
  if (event.isRedacted()) return 'took this back';
  if (event.getType() !== EventType.RoomMember) return `set ${event.getType()}`;
  return event.getContent().membership === KnownMembership.Join ? 'is here' : 'changed who is here';
}
