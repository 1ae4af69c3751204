/**
 * `window.__consilium`: what browser tests and support may look at. Numbers and identifiers of images only.
 *
 * - `ready`            the first exact image is on screen; also `#viewer[data-ready]`, which a strict CSP lets tests wait for
 * - `backend`          'gpu' | 'cpu'
 * - `previewMs`        navigation start → first picture, coarse or exact
 * - `firstImageMs`     navigation start → first exact picture
 * - `currentImageId`   image id of the pane last drawn; `images` the same per pane
 * - `imagesArrived`    exact pictures that reached a pane
 * - `unsaved`          marks and text not yet confirmed by the server
 * - `errors`           uncaught errors
 */
interface Diagnostics {
  ready: boolean;
  backend: 'gpu' | 'cpu' | null;
  previewMs: number | null;
  firstImageMs: number | null;
  currentImageId: string | null;
  images: Record<string, string>;
  imagesArrived: number;
  unsaved: number;
  errors: string[];
}

const state: Diagnostics = {
  ready: false,
  backend: null,
  previewMs: null,
  firstImageMs: null,
  currentImageId: null,
  images: {},
  imagesArrived: 0,
  unsaved: 0,
  errors: [],
};

declare global {
  interface Window {
    __consilium?: Diagnostics;
  }
}

export const diagnostics = {
  start(): void {
    window.__consilium = state;
    const note = (text: string) => {
      if (state.errors.length < 50) state.errors.push(text);
    };
    window.addEventListener('error', (event) => note(event.message));
    window.addEventListener('unhandledrejection', (event) => {
      // The image loader rejects a promise nobody can hold for every image it could not fetch; that failure has been
      // reported through IMAGE_LOAD_FAILED and is shown on the image.
      if (event.reason instanceof XMLHttpRequest) event.preventDefault();
      else note(String(event.reason));
    });
  },
  backend(backend: 'gpu' | 'cpu'): void {
    state.backend = backend;
  },
  imageArrived(_imageId: string, exact: boolean): void {
    state.previewMs ??= performance.now();
    if (!exact) return;
    state.firstImageMs ??= performance.now();
    state.imagesArrived += 1;
    state.ready = true;
    document.querySelector<HTMLElement>('#viewer')!.dataset['ready'] = 'true';
  },
  rendered(viewportId: string, imageId: string): void {
    state.images[viewportId] = imageId;
    state.currentImageId = imageId;
  },
  unsaved(count: number): void {
    state.unsaved = count;
  },
};
