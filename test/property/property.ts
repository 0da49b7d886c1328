import fc from 'fast-check';

/** Something that must hold for every input. */
export interface Property {
  readonly name: string;
  readonly check: (parameters: fc.Parameters<[unknown]>) => Promise<void>;
}

/** Errors are made by the hundred thousand here, and what an expected one cost is mostly its stack. */
async function withoutStacks(work: () => Promise<void> | void): Promise<void> {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    await work();
  } finally {
    Error.stackTraceLimit = before;
  }
}

/** `holds` throws for an input for which the property does not hold. */
export function property<T>(name: string, inputs: fc.Arbitrary<T>, holds: (input: T) => void): Property {
  return {
    name,
    check: (parameters) =>
      withoutStacks(() => fc.assert(fc.property(inputs, holds), parameters as fc.Parameters<[T]>)),
  };
}

export function asyncProperty<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  holds: (input: T) => Promise<void>,
): Property {
  return {
    name,
    check: (parameters) =>
      withoutStacks(() => fc.assert(fc.asyncProperty(inputs, holds), parameters as fc.Parameters<[T]>)),
  };
}

/** Throws unless both are the same. */
export function same(ours: unknown, theirs: unknown, what: string): void {
  if (!Object.is(ours, theirs)) {
    throw new Error(`${what}: ${JSON.stringify(ours)} instead of ${JSON.stringify(theirs)}`);
  }
}

/** What `work` gives, or the error that it throws, which must be of one of these kinds. */
export function orError<T>(
  work: () => T,
  ...kinds: readonly (abstract new (
    ...args: never[]
  ) => Error)[]
): T | Error {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && kinds.some((kind) => error instanceof kind)) return error;
    throw error;
  }
}
