import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { ClientGoneError } from './errors.ts';

/**
 * A request's body on its way upstream. Destroying it (the homeserver answered early, or died) leaves the
 * client's connection alone: the rest of the upload is read and thrown away, so that the answer can be sent.
 * A client that goes away in the middle destroys it, so that upstream never sees a body that looks complete.
 */
export class UploadBody extends Readable {
  readonly #source: IncomingMessage;

  /** `begun` is what has been read of the source already; it goes first. */
  constructor(source: IncomingMessage, begun?: Uint8Array) {
    super({ highWaterMark: source.readableHighWaterMark });
    this.#source = source;
    if (begun !== undefined) this.push(begun);
    source.on('data', this.#onData);
    source.on('end', this.#onEnd);
    source.on('close', this.#onClose);
    source.pause();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.push(chunk)) this.#source.pause();
  };

  readonly #onEnd = (): void => {
    this.push(null);
  };

  readonly #onClose = (): void => {
    if (!this.#source.readableEnded) this.destroy(new ClientGoneError());
  };

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#source.off('data', this.#onData);
    this.#source.off('end', this.#onEnd);
    this.#source.off('close', this.#onClose);
    this.#source.resume();
    callback(error);
  }
}
