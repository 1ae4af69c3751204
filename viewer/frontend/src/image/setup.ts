/** Start Cornerstone once, and say which renderer this browser gives us. */
import { getRenderingCapabilities, init as initCore, RenderingEngine, setUseCPURendering, imageLoadPoolManager, imageRetrievalPoolManager, Enums } from '@cornerstonejs/core';
import { init as initLoader } from '@cornerstonejs/dicom-image-loader';
import { init as initTools } from '@cornerstonejs/tools';
import { addGeometryProvider } from './provider';

export type Backend = 'gpu' | 'cpu';

export interface Imaging {
  engine: RenderingEngine;
  backend: Backend;
}

export function startImaging(): Imaging {
  initCore();
  const gpu = getRenderingCapabilities().webgl === true;
  if (!gpu) setUseCPURendering(true);
  const cores = navigator.hardwareConcurrency || 2;
  initLoader({ maxWebWorkers: Math.max(1, Math.min(4, cores - 1)) });
  addGeometryProvider();
  initTools();
  // One connection's worth of prefetch leaves room for the slice the doctor is waiting for.
  for (const pool of [imageLoadPoolManager, imageRetrievalPoolManager]) {
    pool.setMaxSimultaneousRequests(Enums.RequestType.Interaction, 6);
    pool.setMaxSimultaneousRequests(Enums.RequestType.Prefetch, 4);
  }
  return { engine: new RenderingEngine('consilium'), backend: gpu ? 'gpu' : 'cpu' };
}
