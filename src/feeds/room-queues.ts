/** Runs the tasks of one room one after the other, those of different rooms side by side. */
export class RoomQueues {
  readonly #tails = new Map<string, Promise<unknown>>();

  run<T>(roomId: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(roomId) ?? Promise.resolve();
    const result = before.then(task, task);
    const tail = result
      .catch(() => undefined)
      .then(() => {
        if (this.#tails.get(roomId) === tail) this.#tails.delete(roomId);
      });
    this.#tails.set(roomId, tail);
    return result;
  }
}
