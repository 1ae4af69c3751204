/** A modal on the browser's own <dialog>: focus stays inside, Esc closes, the page behind is inert. */
import { t } from '../i18n';
import { h } from './dom';
import { icon } from './icons';

export interface Dialog {
  element: HTMLDialogElement;
  close(): void;
}

export function openDialog(title: string, testid: string, content: HTMLElement, wide = false, onClose?: () => void): Dialog {
  const close = h('button', { class: 'ghost dialog-close', type: 'button', 'aria-label': t().close, testid: `${testid}-close` }, icon('remove'));
  const element = h(
    'dialog',
    { class: wide ? 'dialog wide' : 'dialog', testid, 'aria-label': title },
    h('header', { class: 'dialog-head' }, h('h2', { text: title, tabindex: -1, autofocus: true }), close),
    content,
  );
  const finish = () => {
    if (element.open) element.close();
  };
  close.addEventListener('click', finish);
  element.addEventListener('click', (event) => {
    if (event.target === element) finish();
  });
  element.addEventListener('close', () => {
    element.remove();
    onClose?.();
  });
  document.querySelector('#viewer')!.append(element);
  element.showModal();
  return { element, close: finish };
}

let toastTimer = 0;

/** One quiet line at the bottom, with at most one thing to do about it. */
export function toast(text: string, action?: { label: string; run: () => void }, milliseconds = 6000): void {
  document.querySelector('.toast')?.remove();
  window.clearTimeout(toastTimer);
  const element = h('div', { class: 'toast', role: 'status', testid: 'toast' }, h('span', { text }));
  if (action) {
    const button = h('button', { class: 'link', type: 'button', text: action.label, testid: 'toast-action' });
    button.addEventListener('click', () => {
      element.remove();
      action.run();
    });
    element.append(button);
  }
  document.querySelector('#viewer')!.append(element);
  toastTimer = window.setTimeout(() => element.remove(), milliseconds);
}

/** A line of text asked for at a place on the screen (an arrow's meaning). */
export function askLine(place: { x: number; y: number }, label: string, present: string, done: (text: string | undefined) => void): void {
  document.querySelector('.ask-line')?.remove();
  const input = h('input', { type: 'text', maxlength: 200, placeholder: label, 'aria-label': label, testid: 'arrow-text' });
  input.value = present;
  const form = h('form', { class: 'ask-line' }, input, h('button', { class: 'primary', type: 'submit', 'aria-label': 'OK', testid: 'arrow-ok' }, icon('check')));
  let finished = false;
  const finish = (text: string | undefined) => {
    if (finished) return;
    finished = true;
    form.remove();
    done(text);
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    finish(input.value.trim() || undefined);
  });
  input.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Escape') finish(present || undefined);
  });
  input.addEventListener('blur', () => window.setTimeout(() => finish(input.value.trim() || present || undefined), 150));
  form.style.left = `${Math.max(8, Math.min(window.innerWidth - 280, place.x + 8))}px`;
  form.style.top = `${Math.max(8, Math.min(window.innerHeight - 52, place.y + 8))}px`;
  document.querySelector('#viewer')!.append(form);
  // The pointer that drew the arrow is still going up.
  window.setTimeout(() => input.focus(), 0);
}
