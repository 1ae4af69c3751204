/** Cornerstone's annotation ↔ the stored form. Pure: knows neither the screen nor the network. */
import type { Frame } from '../data/frames';
import { toImage, toWorld, type Plane } from '../geometry/plane';
import { finite, vec3, type Vec3 } from '../geometry/vector';
import { measurementsOf, type Stats } from './measurements';
import type { ListedMark, MarkTool, StoredMark } from './types';

/** The part of Cornerstone's annotation that matters here. */
export interface DrawnMark {
  annotationUID?: string;
  metadata?: { toolName?: string; FrameOfReferenceUID?: string; referencedImageId?: string; viewPlaneNormal?: ArrayLike<number>; viewUp?: ArrayLike<number> };
  data: {
    label?: string;
    handles?: { points?: ArrayLike<number>[]; arrowFirst?: unknown; textBox?: { hasMoved?: boolean; worldPosition?: ArrayLike<number> } };
    cachedStats?: unknown;
  };
}

const TOOLS: Readonly<Record<string, MarkTool>> = {
  Length: 'length',
  EllipticalROI: 'ellipse',
  RectangleROI: 'rectangle',
  Angle: 'angle',
  ArrowAnnotate: 'arrow',
};

const NAMES = Object.fromEntries(Object.entries(TOOLS).map(([name, tool]) => [tool, name])) as Partial<Record<MarkTool, string>>;

/** How many points each tool needs before the mark means anything. */
const POINTS: Readonly<Record<MarkTool, number>> = { length: 2, arrow: 2, angle: 3, ellipse: 4, rectangle: 4, probe: 1 };

export const markTool = (toolName: string | undefined): MarkTool | null => TOOLS[toolName ?? ''] ?? null;
export const toolName = (tool: MarkTool): string | null => NAMES[tool] ?? null;

const plain = (values: ArrayLike<number>): number[] => Array.from(values, Number);

/** Statistics Cornerstone computed for this image (it keeps one entry per target). */
export function statsOf(drawn: DrawnMark): Stats | undefined {
  const all = drawn.data.cachedStats;
  if (typeof all !== 'object' || all === null) return undefined;
  return Object.values(all as Record<string, Stats>).find((entry) => typeof entry === 'object' && entry !== null);
}

export interface Drawn {
  mark: DrawnMark;
  frame: Frame;
  seriesUid: string;
  plane: Plane;
  backend: 'gpu' | 'cpu';
}

/** Smaller than this, in pixels of the image, a mark measures nothing. */
const SMALLEST = 0.5;

/** A mark drawn or dragged together to nothing: no length, no area. */
export function collapsed(tool: MarkTool, points: readonly (readonly number[])[]): boolean {
  if (tool === 'probe') return false;
  const extent = (axis: 0 | 1): number => {
    const values = points.map((point) => point[axis]!);
    return Math.max(...values) - Math.min(...values);
  };
  const area = tool === 'ellipse' || tool === 'rectangle';
  return area ? Math.min(extent(0), extent(1)) < SMALLEST : Math.hypot(extent(0), extent(1)) < SMALLEST;
}

/** Null while the mark is not finished (an angle with two points), measures nothing, or is not one of ours. */
export function toStored({ mark, frame, seriesUid, plane, backend }: Drawn): StoredMark | null {
  const tool = markTool(mark.metadata?.toolName);
  const points = (mark.data.handles?.points ?? []).map((point) => vec3(point));
  if (!tool || !mark.annotationUID || points.length < POINTS[tool] || !points.every(finite)) return null;
  const inImage = points.map((point) => [...toImage(plane, point)]);
  if (collapsed(tool, inImage)) return null;
  const located = frame.position !== null && frame.orientation !== null && frame.spacing !== null && frame.frameOfReferenceUid !== null;
  const textBox = mark.data.handles?.textBox;
  return {
    uid: mark.annotationUID,
    tool,
    label: mark.data.label ?? '',
    series_instance_uid: seriesUid,
    sop_instance_uid: frame.sopInstanceUid,
    frame: frame.frame,
    frame_of_reference_uid: frame.frameOfReferenceUid,
    points_world: located ? points.map((point) => [...point]) : null,
    points_image: inImage,
    measurements: measurementsOf(tool, statsOf(mark), frame),
    backend,
    state: {
      toolName: mark.metadata?.toolName ?? '',
      ...(textBox?.hasMoved && textBox.worldPosition ? { textBox: plain(textBox.worldPosition) } : {}),
      ...(mark.data.handles?.arrowFirst !== undefined ? { arrowFirst: Boolean(mark.data.handles.arrowFirst) } : {}),
    },
  };
}

/** The annotation to hand to Cornerstone for a stored mark; null for tools this viewer does not draw. */
export function fromStored(stored: ListedMark | StoredMark, imageId: string, plane: Plane, frameOfReference: string, normal: Vec3): DrawnMark | null {
  const name = toolName(stored.tool);
  if (!name) return null;
  // The image's own coordinates are the record: they survive a corrected position or spacing.
  const points = stored.points_image.map(([column, row]) => [...toWorld(plane, [column!, row!])]);
  const moved = stored.state['textBox'];
  const textBox = Array.isArray(moved) && moved.length === 3 ? { hasMoved: true, worldPosition: moved.map(Number) } : { hasMoved: false };
  return {
    annotationUID: stored.uid,
    metadata: {
      toolName: name,
      FrameOfReferenceUID: frameOfReference,
      referencedImageId: imageId,
      viewPlaneNormal: [...normal],
      viewUp: plane.column.map((value) => -value),
    },
    data: {
      label: stored.label,
      handles: {
        points,
        ...({ activeHandleIndex: null } as object),
        textBox: {
          ...textBox,
          ...({ worldBoundingBox: { topLeft: [0, 0, 0], topRight: [0, 0, 0], bottomLeft: [0, 0, 0], bottomRight: [0, 0, 0] } } as object),
          worldPosition: textBox.worldPosition ?? [0, 0, 0],
        },
        ...(stored.tool === 'arrow' ? { arrowFirst: stored.state['arrowFirst'] ?? true } : {}),
      },
      cachedStats: {},
    },
  };
}
