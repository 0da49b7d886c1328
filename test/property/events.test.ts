import { tryProperties } from './run.ts';

tryProperties(['pdus', 'server-acl', 'canonical-json']);
