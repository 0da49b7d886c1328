import { byId, show } from './elements.ts';

/** What is wrong, by whom it befell: what the visitor did last, and the preview itself. */
const problems = { action: '', preview: '' };

/** Shows this sentence beside the other's; `''` takes it back. */
export function tellProblem(of: keyof typeof problems, sentence: string): void {
  problems[of] = sentence;
  const told = Object.values(problems).filter((problem) => problem !== '');
  byId('problem').textContent = told.join(' ');
  show('problem', told.length > 0);
}

/** Runs it and shows what it is refused with. */
export function attempt(act: () => Promise<unknown>): () => void {
  return () => {
    tellProblem('action', '');
    act().catch((error: unknown) => {
      tellProblem('action', error instanceof Error ? error.message : String(error));
    });
  };
}
