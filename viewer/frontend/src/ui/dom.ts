/** Building elements without a framework. Text is always set as text: nothing from the server becomes markup. */
type Child = Node | string | null | undefined | false;

interface Attributes {
  class?: string;
  testid?: string;
  title?: string;
  text?: string;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
  [attribute: string]: unknown;
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'class') element.className = String(value);
    else if (name === 'testid') element.dataset['testid'] = String(value);
    else if (name === 'text') element.textContent = String(value);
    else if (name === 'on') {
      for (const [type, handler] of Object.entries(value as object)) element.addEventListener(type, handler as EventListener);
    } else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

/** Show or hide without losing layout rules of the class. */
export function show(element: HTMLElement, visible: boolean): void {
  element.hidden = !visible;
}
