// The review of a held object: frames, boxes, keys. No framework, no inline script (see viewer/security.py).
// Boxes are in pixels of the stored frame: left and top belong to the box, right and bottom do not; frames count from 1.

const root = document.getElementById('review');
const desk = root ? review(root) : null;

document.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.altKey || event.metaKey || event.target.closest('input, select, textarea')) return;
  if (desk?.key(event)) event.preventDefault();
  if (event.defaultPrevented || event.ctrlKey || event.shiftKey || event.repeat) return;
  // By the place of the key, so that R and D are there on a Russian keyboard too.
  const step = { ArrowUp: 'newer', ArrowDown: 'older' }[event.code];
  const verb = { KeyR: 'r', KeyD: 'd' }[event.code];
  const control = step ? document.getElementById(step) : verb && document.querySelector(`[data-key='${verb}']`);
  if (!control) return;
  event.preventDefault();
  control.click();
});

function review(root) {
  const words = root.dataset;
  const [frames, rows, columns] = [words.frames, words.rows, words.columns].map(Number);
  const at = (id) => document.getElementById(id);
  const svg = at('picture');
  const seen = new Set();
  const past = [];
  let boxes = [];
  let chosen = null;
  let everywhere = true; // what is drawn next is for all frames
  let shown = 1;
  let contrast = false;
  let timer = 0;

  // --- frames ---

  const KEPT = 48e6; // pixels of decoded frames kept at hand
  const pictures = new Map();

  function fetchFrame(number) {
    const key = `${number}${contrast ? 'c' : ''}`;
    if (!pictures.has(key)) {
      const url = words.frameUrl.replace(/0\.png$/, `${number}.png`) + (contrast ? '?contrast' : '');
      const load = async () => {
        const answer = await fetch(url, { cache: 'no-store' });
        if (!answer.ok) throw new Error(String(answer.status));
        return createImageBitmap(await answer.blob());
      };
      const made = load();
      made.catch(() => pictures.delete(key));
      pictures.set(key, made);
      const spare = Math.max(4, Math.floor(KEPT / (rows * columns)));
      for (const [old, picture] of pictures) {
        if (pictures.size <= spare) break;
        pictures.delete(old);
        picture.then((bitmap) => bitmap.close(), () => {});
      }
    }
    return pictures.get(key);
  }

  async function show(number) {
    shown = Math.min(Math.max(1, number), frames);
    const wanted = shown;
    at('position').textContent = frames > 1 ? `${shown} / ${frames}` : '';
    if (at('slider')) at('slider').value = shown;
    draw();
    try {
      const picture = await fetchFrame(wanted);
      if (wanted !== shown) return;
      at('frame').getContext('2d').drawImage(picture, 0, 0);
      at('trouble').hidden = true;
      seen.add(wanted);
      root.dataset.shown = wanted;
    } catch {
      if (wanted !== shown) return;
      at('frame').getContext('2d').clearRect(0, 0, columns, rows);
      at('trouble').textContent = words.broken;
      at('trouble').hidden = false;
    }
    for (const next of [wanted + 1, wanted - 1]) if (next >= 1 && next <= frames) fetchFrame(next).catch(() => {});
  }

  function play() {
    const going = timer !== 0;
    clearTimeout(timer);
    timer = 0;
    at('play')?.setAttribute('aria-pressed', String(!going));
    if (going || frames < 2) return;
    const step = async () => {
      await show(shown >= frames ? 1 : shown + 1);
      if (timer) timer = setTimeout(step, 90);
    };
    timer = setTimeout(step, 0);
  }

  // --- boxes ---

  const visible = (box) => box.first <= shown && shown <= box.last;
  const copy = () => boxes.map((box) => ({ ...box }));

  function remember() {
    past.push({ boxes: copy(), chosen: boxes.indexOf(chosen) });
    if (past.length > 100) past.shift();
  }

  function undo() {
    const before = past.pop();
    if (!before) return;
    boxes = before.boxes;
    chosen = boxes[before.chosen] ?? null;
    draw();
  }

  function remove(box) {
    remember();
    const index = boxes.indexOf(box);
    boxes.splice(index, 1);
    chosen = chosen === box ? null : chosen;
    draw();
  }

  function choose(box) {
    chosen = box;
    if (box && !visible(box)) show(box.first);
    draw();
  }

  function setScope(all) {
    everywhere = all;
    if (chosen) {
      remember();
      [chosen.first, chosen.last] = all ? [1, frames] : [shown, shown];
    }
    draw();
  }

  function fit(box) {
    const limit = (value, most) => Math.min(Math.max(Math.round(value), 0), most);
    const [left, right] = [limit(box.left, columns), limit(box.right, columns)];
    const [top, bottom] = [limit(box.top, rows), limit(box.bottom, rows)];
    Object.assign(box, {
      left: Math.min(left, right), right: Math.max(left, right), top: Math.min(top, bottom), bottom: Math.max(top, bottom),
    });
  }

  function nudge(x, y, resize) {
    remember();
    const box = chosen;
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    if (resize) Object.assign(box, { right: Math.max(box.left + 2, box.right + x), bottom: Math.max(box.top + 2, box.bottom + y) });
    else {
      box.left = Math.min(Math.max(0, box.left + x), columns - width);
      box.top = Math.min(Math.max(0, box.top + y), rows - height);
      Object.assign(box, { right: box.left + width, bottom: box.top + height });
    }
    fit(box);
    draw();
  }

  function scopeText(box) {
    if (box.first === 1 && box.last === frames) return frames > 1 ? words.all : '';
    if (box.first === box.last) return words.one.replace('{}', box.first);
    return words.range.replace('{}', `${box.first}–${box.last}`);
  }

  const make = (name, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  const CORNERS = [['left', 'top', 'nwse'], ['right', 'top', 'nesw'], ['left', 'bottom', 'nesw'], ['right', 'bottom', 'nwse']];

  function draw() {
    const grip = 5 / (svg.getScreenCTM()?.a || 1);
    const drawn = [];
    for (const box of boxes.filter(visible)) {
      const shape = { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top };
      const rect = make('rect', { ...shape, class: `box${box.found ? ' found' : ''}${box === chosen ? ' chosen' : ''}` });
      rect.box = box;
      drawn.push(rect);
    }
    if (chosen && visible(chosen)) {
      for (const [x, y, cursor] of CORNERS) {
        const handle = make('rect', { x: chosen[x] - grip, y: chosen[y] - grip, width: 2 * grip, height: 2 * grip, class: `grip ${cursor}` });
        Object.assign(handle, { box: chosen, corner: [x, y] });
        drawn.push(handle);
      }
    }
    at('boxes').replaceChildren(...drawn);
    at('count').textContent = boxes.length || '';
    const one = chosen ? chosen.first === chosen.last && frames > 1 : !everywhere;
    at('scope-all')?.setAttribute('aria-pressed', String(!one));
    at('scope-one')?.setAttribute('aria-pressed', String(one));
    list();
  }

  function list() {
    const items = boxes.map((box) => {
      const item = document.createElement('li');
      const name = document.createElement('button');
      name.type = 'button';
      name.className = 'box-name';
      if (box === chosen) name.setAttribute('aria-current', 'true');
      name.textContent = `${box.right - box.left} × ${box.bottom - box.top}`;
      if (box.found) name.title = words.byRule;
      const scope = document.createElement('span');
      scope.className = 'quiet-text';
      scope.textContent = scopeText(box);
      name.append(scope);
      name.addEventListener('click', () => choose(box));
      const drop = document.createElement('button');
      drop.type = 'button';
      drop.className = 'quiet small';
      drop.textContent = '×';
      drop.setAttribute('aria-label', `× ${name.textContent}`);
      drop.addEventListener('click', () => remove(box));
      item.append(name, drop);
      return item;
    });
    at('list').replaceChildren(...items);
    at('list').querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
  }

  // --- the mouse, the pen, the finger ---

  const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());

  svg.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    svg.focus({ preventScroll: true });
    const start = place(event);
    const { box, corner } = event.target;
    const before = box && { ...box };
    let active = box;
    let moved = false;
    choose(box ?? null);
    svg.setPointerCapture(event.pointerId);
    const move = (moving) => {
      const now = place(moving);
      if (!moved) {
        if (Math.hypot(moving.clientX - event.clientX, moving.clientY - event.clientY) < 3) return;
        moved = true;
        remember();
        if (!active) {
          const [first, last] = everywhere ? [1, frames] : [shown, shown];
          active = { first, last };
          boxes.push(active);
          chosen = active;
        }
      }
      if (!before) Object.assign(active, { left: start.x, top: start.y, right: now.x, bottom: now.y });
      else if (corner) {
        const other = { left: 'right', right: 'left', top: 'bottom', bottom: 'top' };
        Object.assign(active, {
          left: before[other[corner[0]]], right: now.x, top: before[other[corner[1]]], bottom: now.y,
        });
      } else {
        const [width, height] = [before.right - before.left, before.bottom - before.top];
        active.left = Math.min(Math.max(0, Math.round(before.left + now.x - start.x)), columns - width);
        active.top = Math.min(Math.max(0, Math.round(before.top + now.y - start.y)), rows - height);
        Object.assign(active, { right: active.left + width, bottom: active.top + height });
      }
      fit(active);
      draw();
    };
    const end = () => {
      svg.removeEventListener('pointermove', move);
      if (moved && (active.right - active.left < 2 || active.bottom - active.top < 2)) undo();
    };
    svg.addEventListener('pointermove', move);
    svg.addEventListener('pointerup', end, { once: true });
    svg.addEventListener('pointercancel', end, { once: true });
  });
  svg.addEventListener('wheel', (event) => {
    if (frames < 2) return;
    event.preventDefault();
    show(shown + Math.sign(event.deltaY));
  }, { passive: false });

  // --- keys and buttons ---

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function key(event) {
    const arrow = ARROWS[event.code];
    if (arrow && (event.shiftKey || event.ctrlKey)) {
      if (chosen) nudge(2 * arrow[0], 2 * arrow[1], event.ctrlKey);
      return Boolean(chosen);
    }
    if (event.ctrlKey && event.code !== 'KeyZ') return false;
    if (event.code === 'Tab') {
      if (event.target !== svg || !boxes.length) return false;
      const next = boxes.indexOf(chosen) + (event.shiftKey ? -1 : 1);
      if (next < 0 || next >= boxes.length) return false; // on to the next control
      choose(boxes[next]);
      return true;
    }
    if (event.code === 'Space' && event.target.closest('button, a, summary')) return false;
    const work = {
      ArrowLeft: () => show(shown - 1),
      ArrowRight: () => show(shown + 1),
      Home: () => show(1),
      End: () => show(frames),
      Space: play,
      Delete: () => chosen && remove(chosen),
      Backspace: () => chosen && remove(chosen),
      Escape: () => choose(null),
      KeyA: () => frames > 1 && setScope(!(at('scope-all').getAttribute('aria-pressed') === 'true')),
      KeyH: () => at('hide').click(),
      KeyC: () => at('contrast')?.click(),
      KeyZ: undo,
      KeyN: () => {
        remember();
        const [first, last] = everywhere ? [1, frames] : [shown, shown];
        const box = { left: columns * 0.4, right: columns * 0.6, top: rows * 0.45, bottom: rows * 0.55, first, last };
        fit(box);
        boxes.push(box);
        choose(box);
      },
    }[event.code];
    if (!work) return false;
    work();
    return true;
  }

  at('play')?.addEventListener('click', play);
  at('slider')?.addEventListener('input', (event) => show(Number(event.target.value)));
  at('scope-all')?.addEventListener('click', () => setScope(true));
  at('scope-one')?.addEventListener('click', () => setScope(false));
  at('hide').addEventListener('click', () => {
    at('hide').setAttribute('aria-pressed', String(root.classList.toggle('as-hidden')));
  });
  at('contrast')?.addEventListener('click', () => {
    contrast = !contrast;
    at('contrast').setAttribute('aria-pressed', String(contrast));
    show(shown);
  });
  const form = at('release');
  form.addEventListener('submit', (event) => {
    if (seen.size < frames && !window.confirm(words.unseen.replace('{}', `${seen.size} / ${frames}`))) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    form.elements.boxes.value = JSON.stringify(boxes.map((b) => [b.left, b.top, b.right, b.bottom, b.first, b.last]));
    form.elements.seen.value = seen.size;
  });
  new ResizeObserver(draw).observe(svg);

  // --- what the screening finds ---

  async function search() {
    const note = at('searching');
    try {
      let answer = await fetch(words.foundUrl, { cache: 'no-store' });
      while (answer.status === 503) { // another item is being searched
        await new Promise((resolve) => setTimeout(resolve, 2000));
        answer = await fetch(words.foundUrl, { cache: 'no-store' });
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      for (const [left, top, right, bottom, first, last] of found.boxes) {
        boxes.push({ left, top, right, bottom, first, last, found: true });
      }
      note.hidden = true;
      draw();
    } catch {
      note.textContent = words.failed;
      note.className = 'problem';
    }
    form.querySelector('button').disabled = false;
    root.dataset.ready = '';
  }

  svg.focus({ preventScroll: true });
  show(1);
  search();
  return { key };
}
