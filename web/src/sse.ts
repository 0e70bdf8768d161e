// Server-sent events out of a text that arrives in pieces (WHATWG HTML, 9.2.6).
// EventSource cannot send a token, and says nothing of why it was turned away.

export interface ServerEvent {
  name: string;
  data: string;
}

/** An event longer than this ends the stream: no honest data set is. */
const longest = 64 << 20;

export class EventReader {
  /** The number of the newest event, for Last-Event-ID. */
  lastID = '';
  private rest = '';
  private name = '';
  private data: string[] = [];

  /** reset forgets half an event: another stream begins. */
  reset(): void {
    this.rest = this.name = '';
    this.data = [];
  }

  /** push returns the events that text completes. */
  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    if (this.rest.length > longest) throw new Error('an event without end');
    for (const raw of lines) this.line(raw.endsWith('\r') ? raw.slice(0, -1) : raw, events);
    return events;
  }

  private line(line: string, events: ServerEvent[]): void {
    if (line === '') {
      if (this.data.length > 0) events.push({ name: this.name || 'message', data: this.data.join('\n') });
      this.name = '';
      this.data = [];
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.name = value;
    else if (field === 'data') this.data.push(value);
    else if (field === 'id') this.lastID = value;
  }
}
