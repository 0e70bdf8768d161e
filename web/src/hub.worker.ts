// The shared worker: see hub.ts.
import { Hub } from './hub';

const hub = new Hub();
(self as unknown as { onconnect: (e: MessageEvent) => void }).onconnect = (e) => {
  const tab = e.ports[0];
  if (tab) hub.connect(tab);
};
