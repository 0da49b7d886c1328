/** What the authorization rules say of an event. `reason` is a sentence for people; it quotes nothing remote. */
export type Verdict = { readonly allowed: true } | { readonly allowed: false; readonly reason: string };

export const ALLOWED: Verdict = { allowed: true };

export function denied(reason: string): Verdict {
  return { allowed: false, reason };
}

export function allowedIf(condition: boolean, otherwise: string): Verdict {
  return condition ? ALLOWED : denied(otherwise);
}
