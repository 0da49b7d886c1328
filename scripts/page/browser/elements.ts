/** The element of the page with this ID. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}`);
  return element as E;
}

export function show(id: string, shown: boolean): void {
  byId(id).hidden = !shown;
}
