// The live stream as one tab has it: by the hub that all tabs share, and only while the tab can be seen.

import { Failure } from './api';
import { beat, type FromTab, Hub, type ToTab } from './hub';
import type { Link } from './link';

export interface Listener {
  opened(): void; // a stream was established, before its first event
  event(name: string, data: string): void;
  refused(f: Failure): void; // the daemon answered, but with an error
}

/** follow keeps link and listener up to date for as long as the page lives; shown is what reading shows of the token. */
export function follow(link: Link, listener: Listener, shown: () => Promise<string>): void {
  let hub: MessagePort;
  const tell = async () => {
    const visible = !document.hidden;
    hub.postMessage({ visible, base: document.baseURI.replace(/[#?].*$/, ''), authorization: visible ? await shown() : '' } satisfies FromTab);
  };
  const hear = ({ data: m }: MessageEvent<ToTab>) => {
    if (m.kind === 'event') listener.event(m.name, m.data);
    else if (m.kind === 'refused') listener.refused(new Failure(m.problem));
    else if (m.kind === 'opened') {
      link.open = true;
      listener.opened();
    } else {
      if (link.open) link.lost = performance.now();
      link.open = false;
      link.why = m.why;
      link.retryAt = performance.now() + m.wait;
    }
  };
  const use = (port: MessagePort) => {
    hub = port;
    hub.onmessage = hear;
    void tell();
  };
  use(connect(() => link.open || use(alone())));
  document.addEventListener('visibilitychange', () => void tell());
  window.addEventListener('online', () => void tell());
  window.addEventListener('pagehide', () => hub.postMessage({ visible: false, base: '', authorization: '' } satisfies FromTab));
  window.addEventListener('pageshow', (e) => e.persisted && void tell());
  setInterval(() => document.hidden || void tell(), beat);
}

/** connect is the way to the hub of all tabs; lost is called where the browser cannot start it. */
function connect(lost: () => void): MessagePort {
  if (typeof SharedWorker !== 'function') return alone();
  const worker = new SharedWorker(new URL('./hub.worker.ts', import.meta.url), { type: 'module', name: 'sluice' });
  worker.onerror = lost;
  return worker.port;
}

/** alone is a hub for this tab only. */
function alone(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  new Hub().connect(port1);
  return port2;
}
