/** The tools, their buttons and their bindings: left = chosen tool, middle = pan, right = zoom, wheel = scroll. */
import {
  addTool,
  AngleTool,
  ArrowAnnotateTool,
  cancelActiveManipulations,
  CrosshairsTool,
  EllipticalROITool,
  Enums,
  LengthTool,
  PanTool,
  RectangleROITool,
  StackScrollTool,
  ToolGroupManager,
  WindowLevelTool,
  ZoomTool,
  type Types,
} from '@cornerstonejs/tools';

export type LeftTool = 'window' | 'scroll' | 'pan' | 'zoom' | 'length' | 'ellipse' | 'rectangle' | 'angle' | 'arrow' | 'crosshairs';

const CLASSES = {
  window: WindowLevelTool,
  scroll: StackScrollTool,
  pan: PanTool,
  zoom: ZoomTool,
  length: LengthTool,
  ellipse: EllipticalROITool,
  rectangle: RectangleROITool,
  angle: AngleTool,
  arrow: ArrowAnnotateTool,
  crosshairs: CrosshairsTool,
} as const;

export const MARKING: readonly LeftTool[] = ['length', 'ellipse', 'rectangle', 'angle', 'arrow'];
const MOVING: readonly LeftTool[] = ['window', 'scroll', 'pan', 'zoom'];

const { Primary, Auxiliary, Secondary, Wheel } = Enums.MouseBindings;

type Binding = Types.IToolBinding;

/** What a tool answers to besides being the chosen one. */
const ALWAYS: Partial<Record<LeftTool, Binding[]>> = {
  pan: [{ mouseButton: Auxiliary }],
  zoom: [{ mouseButton: Secondary }, { mouseButton: Wheel, modifierKey: Enums.KeyboardBindings.Ctrl }, { numTouchPoints: 2 }],
  scroll: [{ mouseButton: Wheel }, { numTouchPoints: 3 }],
};

export const STACK_GROUP = 'stack';
export const MPR_GROUP = 'mpr';

export interface ToolHooks {
  /** Lines beside a mark. */
  lines: (toolName: string, data: unknown, target: string | readonly string[]) => string[];
  /** Ask for the text of an arrow; call back with it, or with nothing to drop the arrow. */
  askText: (present: string, done: (text: string | undefined) => void) => void;
  mprReference: { colour: (viewportId: string) => string };
}

type Group = NonNullable<ReturnType<typeof ToolGroupManager.getToolGroup>>;

export class Toolset {
  private readonly stack: Group;
  private mpr: Group | null = null;
  private left: LeftTool = 'window';

  constructor(
    private readonly canMark: boolean,
    private readonly hooks: ToolHooks,
  ) {
    for (const tool of Object.values(CLASSES)) addTool(tool);
    this.stack = this.group(STACK_GROUP, [...MOVING, ...MARKING]);
    this.configure();
    // Restored marks are drawn only by tools that are at least passive.
    for (const tool of MARKING) {
      if (canMark) this.stack.setToolPassive(CLASSES[tool].toolName);
      else this.stack.setToolEnabled(CLASSES[tool].toolName);
    }
    this.bind(this.stack, 'window');
  }

  get chosen(): LeftTool {
    return this.left;
  }

  addPane(viewportId: string, engineId: string): void {
    this.stack.addViewport(viewportId, engineId);
  }

  choose(tool: LeftTool): void {
    if (MARKING.includes(tool) && !this.canMark) return;
    this.cancel();
    const group = this.mpr ?? this.stack;
    if (!group.hasTool(CLASSES[tool].toolName)) return;
    this.release(group, this.left);
    this.left = tool;
    this.bind(group, tool);
  }

  /** Give up a half-drawn mark: an unfinished angle would swallow the next tool's clicks. */
  cancel(): boolean {
    const group = this.mpr ?? this.stack;
    return group
      .getViewportIds()
      .map((id) => document.querySelector<HTMLDivElement>(`[data-viewport-uid="${id}"]`))
      .map((element) => (element ? cancelActiveManipulations(element) : undefined))
      .some((uid) => uid !== undefined);
  }

  /** After signing: marks stay visible and can no longer be touched. */
  freeze(): void {
    if (MARKING.includes(this.left)) this.choose('window');
    for (const tool of MARKING) this.stack.setToolEnabled(CLASSES[tool].toolName);
  }

  startMpr(viewportIds: readonly string[], engineId: string): void {
    this.cancel();
    this.mpr = this.group(MPR_GROUP, [...MOVING, 'crosshairs']);
    for (const id of viewportIds) this.mpr.addViewport(id, engineId);
    this.left = 'crosshairs';
    this.bind(this.mpr, 'crosshairs');
  }

  stopMpr(): void {
    if (!this.mpr) return;
    ToolGroupManager.destroyToolGroup(MPR_GROUP);
    this.mpr = null;
    this.left = 'window';
    this.bind(this.stack, 'window');
  }

  private group(id: string, tools: readonly LeftTool[]): Group {
    const group = ToolGroupManager.createToolGroup(id);
    if (!group) throw new Error(`tool group ${id} exists already`);
    for (const tool of tools) {
      if (tool === 'crosshairs') {
        group.addTool(CrosshairsTool.toolName, {
          getReferenceLineColor: this.hooks.mprReference.colour,
          getReferenceLineControllable: () => true,
          getReferenceLineDraggableRotatable: () => false,
          getReferenceLineSlabThicknessControlsOn: () => false,
        });
      } else group.addTool(CLASSES[tool].toolName);
    }
    return group;
  }

  private configure(): void {
    for (const tool of ['length', 'ellipse', 'rectangle', 'angle'] as const) {
      const name = CLASSES[tool].toolName;
      this.stack.setToolConfiguration(name, {
        getTextLines: (data: unknown, target: string | readonly string[]) => this.hooks.lines(name, data, target),
      });
    }
    this.stack.setToolConfiguration(ArrowAnnotateTool.toolName, {
      getTextCallback: (done: (text: string | undefined) => void) => this.hooks.askText('', done),
      changeTextCallback: (data: { data?: { label?: string }; label?: string }, _event: unknown, done: (text: string) => void) =>
        this.hooks.askText(data.data?.label ?? data.label ?? '', (text) => text && done(text)),
    });
  }

  private bind(group: Group, tool: LeftTool): void {
    for (const moving of MOVING) {
      const bindings = [...(ALWAYS[moving] ?? []), ...(moving === tool ? [{ mouseButton: Primary }] : [])];
      if (bindings.length) group.setToolActive(CLASSES[moving].toolName, { bindings });
    }
    if (!MOVING.includes(tool)) group.setToolActive(CLASSES[tool].toolName, { bindings: [{ mouseButton: Primary }] });
  }

  private release(group: Group, tool: LeftTool): void {
    const name = CLASSES[tool].toolName;
    if (!group.hasTool(name)) return;
    if (MOVING.includes(tool)) group.setToolPassive(name, { removeAllBindings: true });
    else if (tool === 'crosshairs') group.setToolEnabled(name);
    else group.setToolPassive(name);
  }
}

