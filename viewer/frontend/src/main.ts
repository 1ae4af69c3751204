/** Entry point: read the page's context, start the viewer. */
import './styles/index.css';
import { App } from './app';
import { parseContext } from './context';
import { diagnostics } from './diagnostics';
import { useLanguage } from './i18n';

diagnostics.start();
const root = document.querySelector<HTMLElement>('#viewer');
if (root) {
  const context = parseContext(root.dataset['context'] ?? '{}');
  useLanguage(context.language);
  void new App(root, context).start();
}
