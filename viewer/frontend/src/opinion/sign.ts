/** The last question before signing: what happens, and the password. */
import { HttpError } from '../data/http';
import { t } from '../i18n';
import { openDialog } from '../ui/dialog';
import { h, show } from '../ui/dom';

function reason(error: unknown): string {
  if (!(error instanceof HttpError)) return t().signFailed;
  if (error.status === 429) return t().tooMany;
  const password = error.status === 401 || error.status === 403 || /password|credential/.test(error.code);
  if (password) return t().wrongPassword;
  return error.message ? `${t().signFailed}: ${error.message}` : t().signFailed;
}

/**
 * @param sign  sends the signature; may throw, the dialog then stays with the reason
 */
export function askSignature(conclusion: string, sign: (password: string) => Promise<void>): void {
  const password = h('input', { type: 'password', autocomplete: 'current-password', required: true, testid: 'sign-password' });
  const problem = h('p', { class: 'problem', role: 'alert', testid: 'sign-error', hidden: true });
  const cancel = h('button', { class: 'secondary', type: 'button', text: t().cancel });
  const submit = h('button', { class: 'primary', type: 'submit', text: t().sign, testid: 'sign-confirm' });
  const form = h(
    'form',
    { class: 'sign-form' },
    h('p', { class: 'muted', text: t().signText }),
    h('blockquote', { text: conclusion }),
    h('label', {}, h('span', { class: 'label', text: t().password }), password),
    problem,
    h('div', { class: 'actions' }, cancel, submit),
  );
  const dialog = openDialog(t().signTitle, 'sign-dialog', form);
  cancel.addEventListener('click', () => dialog.close());
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit.disabled = true;
    submit.textContent = t().signing;
    show(problem, false);
    sign(password.value)
      .then(() => dialog.close())
      .catch((error: unknown) => {
        problem.textContent = reason(error);
        show(problem, true);
        submit.disabled = false;
        submit.textContent = t().sign;
        password.select();
      });
  });
  password.focus();
}
