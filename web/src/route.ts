// Which view is shown: the address after the #, so that a link leads to exactly this view.

export interface Route {
  view: 'overview' | 'vm' | 'group';
  name: string; // of the VM (its UUID, where it has one) or the group
  query: string; // of the overview
  sort: string; // a column, after a minus if it is sorted downwards; "" as it comes
}

/** parse reads an address's hash. */
export function parse(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#/, '').split('?');
  const [, view = '', name = ''] = path.split('/');
  const said = new URLSearchParams(search);
  const rest = { query: said.get('q') ?? '', sort: said.get('sort') ?? '' };
  if ((view === 'vm' || view === 'group') && name) return { view, name: decode(name), ...rest };
  return { view: 'overview', name: '', ...rest };
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** spell is the hash of a route. */
export function spell(r: Route): string {
  const said = new URLSearchParams();
  if (r.query) said.set('q', r.query);
  if (r.sort) said.set('sort', r.sort);
  const search = said.size > 0 ? `?${said}` : '';
  return r.view === 'overview' ? `#/${search}` : `#/${r.view}/${encodeURIComponent(r.name)}${search}`;
}
