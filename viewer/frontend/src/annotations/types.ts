/** The stored form of a mark: what the server keeps and the report is made from. */
export type MarkTool = 'length' | 'ellipse' | 'arrow' | 'rectangle' | 'angle' | 'probe';

export interface Measurement {
  value: number;
  /** UCUM. */
  unit: string;
}

export type MeasurementName = 'length' | 'area' | 'mean' | 'std' | 'min' | 'max' | 'angle';
export type Measurements = Partial<Record<MeasurementName, Measurement>>;

export interface StoredMark {
  uid: string;
  tool: MarkTool;
  label: string;
  series_instance_uid: string;
  sop_instance_uid: string;
  /** Counted from 1. */
  frame: number;
  frame_of_reference_uid: string | null;
  /** Patient coordinates, mm; null when the image does not say where it lies. */
  points_world: number[][] | null;
  /** [column, row] in SCOORD's convention, PS3.3 C.18.6.1.1: the centre of the first pixel is (0.5, 0.5). */
  points_image: number[][];
  measurements: Measurements;
  /** The renderer the points were drawn with; both give the same coordinates (see image/cpu.ts). */
  backend: 'gpu' | 'cpu';
  state: Record<string, unknown>;
}

/** As the server lists it. */
export interface ListedMark extends StoredMark {
  revision: number;
  author: string;
  mine: boolean;
}
