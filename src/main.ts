#!/usr/bin/env node
import { assertNode } from './app/assert-node.ts';

assertNode(process.version);
const { runCommand } = await import('./cli.ts');
process.exitCode = await runCommand(process.argv.slice(2), process.env);
