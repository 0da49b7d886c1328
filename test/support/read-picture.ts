import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { debianCommands } from './debian-packages.ts';

/** Installs what reads pictures, where it is missing. */
export async function tesseractPath(): Promise<string> {
  const [path = ''] = await debianCommands(['tesseract'], ['tesseract-ocr', 'tesseract-ocr-eng']);
  return path;
}

/** The English text that can be read in a picture file, with single spaces: what a person would see there. */
export async function readPicture(path: string): Promise<string> {
  const { stdout } = await promisify(execFile)(await tesseractPath(), [path, '-', '--psm', '6'], {
    env: { ...process.env, OMP_THREAD_LIMIT: '1' },
  });
  return stdout.replaceAll(/\s+/g, ' ').trim();
}
