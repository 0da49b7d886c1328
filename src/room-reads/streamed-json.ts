/** The body of an answer that is too large to be held whole: its JSON text, piece by piece, made as it is sent. */
export class StreamedJson {
  readonly pieces: AsyncIterable<string>;

  constructor(pieces: AsyncIterable<string>) {
    this.pieces = pieces;
  }
}

/** The items, JSON texts (or members of an object), with commas between and `before` and `after` around them. */
export function streamedList(before: string, items: AsyncIterable<string>, after: string): StreamedJson {
  return new StreamedJson(listed(before, items, after));
}

async function* listed(before: string, items: AsyncIterable<string>, after: string): AsyncGenerator<string> {
  yield before;
  let separator = '';
  for await (const item of items) {
    yield separator + item;
    separator = ',';
  }
  yield after;
}
