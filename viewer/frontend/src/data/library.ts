/** The study's series as the viewer goes through them: listed, loaded once, made known to the image loader. */
import { registerSeries } from '../image/provider';
import type { LoadedSeries, Study } from './dicomweb';
import type { Series } from './series';

export class Library {
  series: readonly Series[] = [];
  private readonly loaded = new Map<string, LoadedSeries>();

  constructor(
    private readonly study: Study,
    /** A series' images are known for the first time. */
    private readonly arrived: (loaded: LoadedSeries) => void,
  ) {}

  async list(): Promise<readonly Series[]> {
    this.series = await this.study.series();
    return this.series;
  }

  get pictures(): readonly Series[] {
    return this.series.filter((entry) => entry.images);
  }

  find(uid: string): Series | null {
    return this.series.find((entry) => entry.uid === uid) ?? null;
  }

  /** The picture series next to another in the list. */
  neighbour(uid: string | null, step: 1 | -1): Series | null {
    const at = this.pictures.findIndex((entry) => entry.uid === uid);
    return this.pictures[at + step] ?? null;
  }

  async load(series: Series): Promise<LoadedSeries> {
    const loaded = await this.study.load(series);
    if (!this.loaded.has(series.uid)) {
      this.loaded.set(series.uid, loaded);
      registerSeries(loaded);
      this.arrived(loaded);
    }
    return loaded;
  }

  /** Position of a stored reference in its series, from 0; null while that is not loaded. */
  indexOf(seriesUid: string, sopInstanceUid: string, frame: number): number | null {
    const frames = this.loaded.get(seriesUid)?.frames ?? [];
    const at = frames.findIndex((entry) => entry.sopInstanceUid === sopInstanceUid && entry.frame === frame);
    return at < 0 ? null : at;
  }

  frame(seriesUid: string, index: number) {
    return this.loaded.get(seriesUid)?.frames[index] ?? null;
  }
}
