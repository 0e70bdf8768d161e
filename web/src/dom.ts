// One way to make elements. Text goes in as text: names come from guests and are not trusted.

type Props = Record<string, string | number | boolean | ((e: never) => void)>;

/** h makes an element; functions among the props are event listeners, false leaves an attribute out. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') e.addEventListener(name, value as EventListener);
    else if (value !== false) e.setAttribute(name, value === true ? '' : String(value));
  }
  e.append(...children);
  return e;
}

/** icon draws one of the page's own line icons, from a path on a 16 by 16 grid. */
export function icon(path: string): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('aria-hidden', 'true');
  svg.classList.add('icon');
  const p = document.createElementNS(space, 'path');
  p.setAttribute('d', path);
  svg.append(p);
  return svg;
}

/** setText changes an element's text only when it differs: untouched text costs no layout. */
export function setText(e: Element, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}

/** must finds what index.html has. */
export function must<T extends Element = HTMLElement>(selector: string): T {
  const e = document.querySelector<T>(selector);
  if (!e) throw new Error(`index.html has no ${selector}`);
  return e;
}

/** arrange makes children the parent's, in order, without touching those that are right. */
export function arrange(parent: Element, children: Element[]): void {
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
