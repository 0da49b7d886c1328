import { createListener } from '../../src/forward/listener.ts';
import { createPassThrough } from '../../src/forward/pass-through.ts';
import { RawForwarder } from '../../src/forward/raw-forwarder.ts';
import { TrustedProxies } from '../../src/forward/trusted-proxies.ts';
import { createUpstream } from '../../src/forward/upstream.ts';
import { serve } from './serve.ts';

/** Our proxy as the benchmarks run it: `/sync` over the raw forwarder, all else over the pass-through. */
const [homeserverUrl = ''] = process.argv.slice(2);
const trusted = new TrustedProxies();
const forwarder = new RawForwarder(createUpstream(homeserverUrl), trusted);
const passThrough = createPassThrough(homeserverUrl, trusted);

serve(
  createListener((req, res) => {
    if (req.url?.includes('/sync')) void forwarder.forward(req, res);
    else passThrough.handle(req, res);
  }),
);
