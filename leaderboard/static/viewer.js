// @ts-check
// Clouds in three dimensions: a class and one of its clouds, as it began, on its way and distilled, beside its nearest
// real cloud, or of several methods; turned together by mouse, finger and keyboard. Where WebGL is missing, or nobody
// asks for it, the picture stays.
"use strict";

(() => {
  /**
   * Clouds of one kind: a snapshot of a run, its nearest real clouds, or those of one method.
   * @typedef {{ words: string, points: number, iteration: number | null, values: Int16Array }} CloudSet
   * @typedef {{ classes: string[], ppc: number, unit: number, up: number, sets: CloudSet[] }} Clouds
   * @typedef {{ yaw: number, pitch: number, zoom: number }} Camera
   * @typedef {number[][]} Ramp
   */

  const FARTHEST = 1.5; // clouds are normalised to the unit ball; what a method threw farther is cut off
  const RAMP = [[70, 51, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 193, 109], [141, 205, 62]];
  const RAMP_ON_DARK = [[134, 116, 214], [92, 142, 214], [62, 166, 186], [56, 190, 150], [110, 212, 110], [200, 226, 90]];
  const MOST = { classes: 1000, ppc: 1000, points: 100000, sets: 64, values: 5e7 };
  // The camera of the pictures that pcbench draws: pcbench/look/pictures.py.
  const START = { yaw: (-35 * Math.PI) / 180, pitch: (22 * Math.PI) / 180, zoom: 1 };
  const STEP = Math.PI / 24;
  const IN_A_ROW = 4; // so many clouds stand in one row; more of them wrap
  const MOST_PIXELS = 8e6; // a gallery of many rows is drawn less finely than what fits a screen
  // To the right, up and to the viewer, for data whose up axis is x, y or z: which coordinate, and its sign.
  const AXES = [[[2, 1], [0, 1], [1, 1]], [[0, 1], [1, 1], [2, 1]], [[0, 1], [2, 1], [1, -1]]];

  // ---- The file of clouds: written by whoever built the site, and still checked ------------------------------

  /** @param {unknown} value @param {number} most */
  const whole = (value, most) => typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most;

  /**
   * The sets as arrays of int16 of (classes, ppc, points, 3), or an Error that says what is wrong.
   * @param {any} file
   * @returns {Clouds}
   */
  function decode(file) {
    const { classes, ppc, scale, sets, up = "y" } = file ?? {};
    if (!Array.isArray(classes) || !whole(classes.length, MOST.classes) || !classes.every((name) => typeof name === "string"))
      throw new Error("no list of classes");
    if (!whole(ppc, MOST.ppc)) throw new Error("counts out of range");
    if (!Number.isFinite(scale) || scale <= 0) throw new Error("no scale");
    if (!"xyz".includes(up) || up.length !== 1) throw new Error("no such axis");
    if (!Array.isArray(sets) || !whole(sets.length, MOST.sets)) throw new Error("no clouds");
    const clouds = classes.length * ppc;
    if (sets.reduce((sum, each) => sum + clouds * (Number(each?.points) || 0) * 3, 0) > MOST.values) throw new Error("too many points");
    return { classes, ppc, unit: scale / 32767, up: "xyz".indexOf(up), sets: sets.map((each) => decodeSet(each, clouds)) };
  }

  /** @param {any} set @param {number} clouds @returns {CloudSet} */
  function decodeSet(set, clouds) {
    const { words, points, values: text, iteration = null } = set ?? {};
    if (typeof words !== "string" || !(iteration === null || Number.isInteger(iteration))) throw new Error("clouds without a name");
    if (!whole(points, MOST.points)) throw new Error("counts out of range");
    const values = clouds * points * 3;
    if (typeof text !== "string" || text.length !== 4 * Math.ceil((values * 2) / 3)) throw new Error(`${words}: wrong length`);
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    if (bytes.length !== values * 2) throw new Error(`${words}: wrong length`);
    const view = new DataView(bytes.buffer);
    return { words, points, iteration, values: Int16Array.from({ length: values }, (_, place) => view.getInt16(2 * place, true)) };
  }

  /**
   * One cloud as (points, 4): x to the right, y up, z to the viewer; the fourth is for the colour.
   * @param {Clouds} clouds @param {CloudSet} set @param {number} label @param {number} copy
   */
  function cloud(clouds, set, label, copy) {
    const from = (label * clouds.ppc + copy) * set.points * 3;
    const out = new Float32Array(set.points * 4);
    for (let point = 0; point < set.points; point += 1)
      AXES[clouds.up].forEach(([axis, sign], place) => {
        out[4 * point + place] = sign * set.values[from + 3 * point + axis] * clouds.unit;
      });
    return out;
  }

  /** Colours a cloud by height, from 0 to 1; a few points at either end do not count. @param {Float32Array} out */
  function byHeight(out) {
    const points = out.length / 4;
    const heights = Float32Array.from({ length: points }, (_, point) => out[4 * point + 1]).sort();
    const [low, high] = [heights[Math.floor(0.02 * (points - 1))], heights[Math.ceil(0.98 * (points - 1))]];
    for (let point = 0; point < points; point += 1)
      out[4 * point + 3] = Math.min(Math.max((out[4 * point + 1] - low) / Math.max(high - low, 1e-9), 0), 1);
    return out;
  }

  /** How far every point lies from where it began. @param {Float32Array} now @param {Float32Array} began */
  const moved = (now, began) =>
    Float32Array.from({ length: now.length / 4 }, (_, point) =>
      Math.hypot(now[4 * point] - began[4 * point], now[4 * point + 1] - began[4 * point + 1], now[4 * point + 2] - began[4 * point + 2]));

  /** Colours a cloud by how far its points have moved, as a share of `far` at most. @param {Float32Array} now @param {Float32Array} began @param {number} far */
  function byMoves(now, began, far) {
    moved(now, began).forEach((distance, point) => {
      now[4 * point + 3] = far > 0 ? Math.min(distance / far, 1) : 0;
    });
    return now;
  }

  /** Between two clouds of the same points. @param {Float32Array} a @param {Float32Array} b @param {number} share */
  const between = (a, b, share) => a.map((value, place) => value + share * (b[place] - value));

  /** @param {Float32Array} points */
  function radius(points) {
    let most = 0;
    for (let at = 0; at < points.length; at += 4)
      most = Math.max(most, points[at] ** 2 + points[at + 1] ** 2 + points[at + 2] ** 2);
    return Math.sqrt(most);
  }

  // ---- Drawing -----------------------------------------------------------------------------------------------

  const VERTEX = `
    attribute vec4 point;
    uniform vec2 turn, tilt, fit;
    uniform float reach, ball;
    varying float height, far;
    void main() {
      vec3 p = point.xyz / reach;
      p = vec3(turn.x * p.x + turn.y * p.z, p.y, turn.x * p.z - turn.y * p.x);
      p = vec3(p.x, tilt.x * p.y - tilt.y * p.z, tilt.x * p.z + tilt.y * p.y);
      gl_Position = vec4(p.xy * fit, -0.3 * p.z, 1.0);
      gl_PointSize = max(ball, 1.0);
      height = point.w;
      far = clamp(0.5 - 0.5 * p.z, 0.0, 1.0);
    }`;
  const FRAGMENT = `
    precision mediump float;
    uniform vec3 ramp[${RAMP.length}];
    uniform vec3 ground;
    varying float height, far;
    void main() {
      vec2 spot = 2.0 * gl_PointCoord - 1.0;
      float edge = dot(spot, spot);
      if (edge > 1.0) discard;
      vec3 colour = ramp[0];
      for (int stop = 1; stop < ${RAMP.length}; stop++)
        colour = mix(colour, ramp[stop], clamp(height * ${(RAMP.length - 1).toFixed(1)} - float(stop - 1), 0.0, 1.0));
      float light = 0.72 + 0.28 * sqrt(1.0 - edge) - 0.12 * spot.y * (1.0 - edge);
      gl_FragColor = vec4(mix(colour * light, ground, 0.35 * far), 1.0);
    }`;

  /**
   * How many clouds stand beside one another, and how many rows they make.
   * @param {number} many @param {number} group so many belong together and stand in one row where they can @param {number} width
   */
  function grid(many, group, width) {
    const fit = Math.max(2, Math.floor(width / (many > group ? 95 : 150)));
    const together = group > 1 && group <= fit ? group * Math.floor(fit / group) : fit;
    const columns = many <= IN_A_ROW ? many : Math.min(many, together);
    return { columns, rows: Math.ceil(many / columns) };
  }

  /** A program with its buffer on a canvas, or null where the browser has no WebGL. @param {HTMLCanvasElement} canvas */
  function painter(canvas) {
    const context = canvas.getContext("webgl", { antialias: true, alpha: false });
    if (!context) return null;
    const gl = context;
    /** @type {Record<string, WebGLUniformLocation | null>} */
    let places = {};

    function prepare() {
      const program = gl.createProgram();
      if (!program) return false;
      for (const [kind, source] of /** @type {[number, string][]} */ ([[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]])) {
        const shader = gl.createShader(kind);
        if (!shader) return false;
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return false;
      gl.useProgram(program);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      const attribute = gl.getAttribLocation(program, "point");
      gl.enableVertexAttribArray(attribute);
      gl.vertexAttribPointer(attribute, 4, gl.FLOAT, false, 0, 0);
      places = Object.fromEntries(
        ["turn", "tilt", "fit", "reach", "ball", "ramp", "ground"].map((name) => [name, gl.getUniformLocation(program, name)]),
      );
      gl.enable(gl.DEPTH_TEST);
      gl.enable(gl.SCISSOR_TEST);
      return true;
    }

    /**
     * The clouds in rows, all at one scale.
     * @param {Float32Array[]} clouds @param {{ columns: number, rows: number }} shape @param {number} reach
     * @param {Camera} view @param {number[]} ground @param {Ramp} ramp
     */
    function paint(clouds, shape, reach, view, ground, ramp) {
      const [across, down] = [canvas.width / shape.columns, canvas.height / shape.rows];
      const side = Math.min(across, down);
      gl.uniform2f(places.turn, Math.cos(view.yaw), Math.sin(view.yaw));
      gl.uniform2f(places.tilt, Math.cos(view.pitch), Math.sin(view.pitch));
      gl.uniform2f(places.fit, (0.92 * view.zoom * side) / across, (0.92 * view.zoom * side) / down);
      gl.uniform1f(places.reach, reach);
      gl.uniform3fv(places.ramp, ramp.flat().map((level) => level / 255));
      gl.uniform3fv(places.ground, ground);
      gl.clearColor(ground[0], ground[1], ground[2], 1);
      gl.scissor(0, 0, canvas.width, canvas.height);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      clouds.forEach((points, number) => {
        const [row, column] = [Math.floor(number / shape.columns), number % shape.columns];
        const box = [Math.round(column * across), Math.round(canvas.height - (row + 1) * down), Math.round(across), Math.round(down)];
        gl.viewport(box[0], box[1], box[2], box[3]);
        gl.scissor(box[0], box[1], box[2], box[3]);
        gl.uniform1f(places.ball, Math.min(0.85 / Math.sqrt(points.length / 4), 0.055) * side * view.zoom);
        gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
        gl.drawArrays(gl.POINTS, 0, points.length / 4);
      });
    }

    const longest = Math.min(...gl.getParameter(gl.MAX_VIEWPORT_DIMS), gl.getParameter(gl.MAX_RENDERBUFFER_SIZE));
    return prepare() ? { prepare, paint, longest, lost: () => gl.isContextLost() } : null;
  }

  // ---- A viewer: controls, canvas, words ---------------------------------------------------------------------

  /**
   * An element with properties, attributes (in `attributes`) and children; text is only ever set as text.
   * @template {keyof HTMLElementTagNameMap} T
   * @param {T} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children
   * @returns {HTMLElementTagNameMap[T]}
   */
  function make(tag, { attributes = {}, ...properties } = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** @param {string} words @param {string} name @param {() => void} press */
  const button = (words, name, press) =>
    make("button", { type: "button", onclick: press, title: name, attributes: { "aria-label": name } }, words);

  /** A choice of one, or of all where there are several. @param {string} label @param {string[]} names @param {string} all @param {() => void} change */
  function chooser(label, names, all, change) {
    const words = names.length > 1 ? [...names, all] : names;
    const field = make("select", {}, ...words.map((name, place) => make("option", { value: String(place) }, name)));
    field.addEventListener("change", change);
    return {
      field,
      label: make("label", {}, label, field),
      /** The places that are chosen. */
      get places() { return field.selectedIndex < names.length ? [field.selectedIndex] : names.map((_, place) => place); },
      get words() { return words[field.selectedIndex]; },
    };
  }

  /** The colour of an element's ground as three levels from 0 to 1. @param {Element} element */
  function groundOf(element) {
    const levels = getComputedStyle(element).backgroundColor.match(/[\d.]+/g)?.slice(0, 3).map(Number) ?? [255, 255, 255];
    return levels.map((level) => level / 255);
  }

  /** @param {HTMLElement} place @param {Clouds} clouds */
  function view(place, clouds) {
    const canvas = make("canvas", { tabIndex: 0, attributes: { role: "application" } });
    const paint = painter(canvas);
    if (!paint) {
      fallBack(place, "This browser has no WebGL: a picture is shown instead.");
      return;
    }

    const snapshots = clouds.sets.filter(({ iteration }) => iteration !== null);
    const first = snapshots[0];
    const others = clouds.sets.filter(({ iteration }) => iteration === null);
    const ends = snapshots.length > 1 ? [first, snapshots[snapshots.length - 1]] : snapshots;
    const present = [...ends, ...others];
    const timed = snapshots.length > 1 && snapshots.every(({ points }) => points === first.points);
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const at = { ...START };
    /** @type {Float32Array[]} */
    let drawn = [];
    let group = 1; // so many of these are of one class and cloud
    let mode = "all";
    let asked = 0;
    let turning = false;

    const label = chooser("Class", clouds.classes, "all classes", choose);
    label.field.selectedIndex = Math.max(0, clouds.classes.indexOf(place.dataset.class ?? ""));
    const copy = chooser("Cloud", Array.from({ length: clouds.ppc }, (_, number) => `${number + 1} of ${clouds.ppc}`), `all ${clouds.ppc}`, choose);
    /** @type {[string, string][]} */
    const modes = [
      ...(present.length > 1 ? [/** @type {[string, string]} */ (["all", "side by side"])] : []),
      ...(timed ? [/** @type {[string, string]} */ (["time", "over time"])] : []),
      ...(present.length > 1 && present.length <= IN_A_ROW ? present.map(({ words }) => /** @type {[string, string]} */ ([words, words])) : []),
    ];
    const views = modes.length > 1 ? modes.map(([key, words]) => ({ key, each: button(words, `Show ${words}`, () => {
      mode = key;
      choose();
    }) })) : [];
    const time = make("input", { type: "range", min: "0", max: String(Math.max(snapshots.length - 1, 1)), step: "any", value: String(snapshots.length - 1) });
    time.addEventListener("input", choose);
    const span = make("output", {});
    const slider = make("label", { className: "time" }, "Distillation", time, span);
    const spin = button("Turn", "Turn slowly", () => setTurning(!turning));
    const names = make("ul", { className: "names" });
    const status = make("p", { attributes: { role: "status" } });
    const tools = make("div", { className: "toolbar", attributes: { role: "group", "aria-label": "Clouds shown" } },
      label.label, ...(clouds.ppc > 1 ? [copy.label] : []), ...views.map(({ each }) => each), slider);
    const handles = make("div", { className: "toolbar", attributes: { role: "group", "aria-label": "View" } },
      button("←", "Turn left", () => move(STEP, 0)), button("→", "Turn right", () => move(-STEP, 0)),
      button("↑", "Tilt up", () => move(0, -STEP)), button("↓", "Tilt down", () => move(0, STEP)),
      button("+", "Nearer", () => zoom(1.15)), button("−", "Farther", () => zoom(1 / 1.15)),
      button("Reset", "Reset the view", reset), spin);
    for (const before of /** @type {HTMLCollectionOf<HTMLElement>} */ (place.children)) before.hidden = true;
    const stage = make("div", { className: "stage" }, canvas, names);
    place.prepend(tools, stage, handles, status);

    // What is shown

    /** @typedef {{ label: number, copy: number }} Which a cloud of every set */

    /** Clouds at the snapshot that the slider stands at, coloured by what has moved since the beginning. @param {Which[]} which */
    function passing(which) {
      const place_ = Number(time.value);
      const before = Math.min(Math.floor(place_), snapshots.length - 2);
      const around = [first, snapshots[before], snapshots[before + 1], snapshots[snapshots.length - 1]];
      const parts = which.map((each) => around.map((set) => cloud(clouds, set, each.label, each.copy)));
      const moves = Float32Array.from(parts.flatMap(([began, , , end]) => [...moved(end, began)])).sort();
      const [far, most] = [moves[Math.ceil(0.98 * (moves.length - 1))], moves[moves.length - 1]]; // a few points do not count
      const iterations = [snapshots[before], snapshots[before + 1]].map(({ iteration }) => iteration ?? 0);
      const words = `iteration ${Math.round(iterations[0] + (place_ - before) * (iterations[1] - iterations[0]))}`;
      span.textContent = words;
      return { clouds: parts.map(([began, a, b]) => byMoves(between(a, b, place_ - before), began, far)), words, far, most };
    }

    /** One class and cloud in every set that is asked for; or, of several, a gallery. */
    function choose() {
      const inTime = mode === "time";
      slider.hidden = !inTime;
      const [labels, copies] = [label.places, copy.places];
      const which = labels.flatMap((label) => copies.map((copy) => ({ label, copy })));
      const gallery = which.length > 1;
      const shown = inTime ? (gallery ? [] : others) : present.filter(({ words }) => mode === "all" || words === mode);
      const passed = inTime ? passing(which) : null;
      drawn = which.flatMap((each, number) => [
        ...(passed ? [passed.clouds[number]] : []),
        ...shown.map((set) => byHeight(cloud(clouds, set, each.label, each.copy))),
      ]);
      const said = [...(passed ? [passed.words] : []), ...shown.map(({ words }) => words)];
      group = said.length;
      const beside = which.flatMap((each) => said.map((words) => [
        ...(labels.length > 1 ? [clouds.classes[each.label]] : []), ...(copies.length > 1 ? [`cloud ${each.copy + 1}`] : []),
        ...(gallery && group === 1 ? [] : [words]),
      ].join(", ")));
      names.replaceChildren(...beside.map((words) => make("li", {}, words)));
      for (const { key, each } of views) each.setAttribute("aria-pressed", String(key === mode));
      const of = clouds.ppc === 1 ? "" : copies.length > 1 ? `, ${copy.words} clouds` : `, cloud ${copy.words}`;
      const words = `${label.words}${of}: ${said.join(", ")}`;
      canvas.setAttribute("aria-label", `3D view of ${words}. Arrow keys turn it, plus and minus zoom, 0 resets.`);
      const counts = [...new Set((passed ? [first, ...shown] : shown).map(({ points }) => points))].join(" or ");
      const distances = passed && `the scale ends at ${passed.far.toFixed(2)}, and ${passed.most.toFixed(2)} is the farthest`;
      const colour = passed ? `coloured by how far each has moved: ${distances}` : "coloured by height";
      status.textContent = `${words}. ${counts} points each, ${colour}.`;
      draw();
    }

    /** Draws once before the next frame, however often it is asked. */
    function draw() {
      if (!asked) asked = requestAnimationFrame(frame);
    }

    function frame() {
      asked = 0;
      if (!paint || paint.lost()) return;
      const shape = grid(drawn.length, group, stage.clientWidth);
      stage.classList.toggle("rows", shape.rows > 1);
      const row = Math.round((1.1 * stage.clientWidth) / shape.columns + 14);
      canvas.style.height = shape.rows > 1 ? `${shape.rows * row}px` : shape.columns > 1 ? `min(var(--tall), ${row}px)` : "";
      names.style.gridTemplateColumns = `repeat(${shape.columns}, minmax(0, 1fr))`;
      const room = Math.min(paint.longest / canvas.clientHeight, Math.sqrt(MOST_PIXELS / (canvas.clientWidth * canvas.clientHeight)));
      const density = Math.min(devicePixelRatio || 1, 3, room);
      const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.max(1, Math.round(length * density)));
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const ground = groundOf(stage);
      const dark = ground[0] + ground[1] + ground[2] < 1.5;
      const reach = Math.min(Math.max(1, ...drawn.map(radius)), FARTHEST);
      paint.paint(drawn, shape, reach, at, ground, dark ? RAMP_ON_DARK : RAMP);
      if (turning) {
        at.yaw += 0.008;
        draw();
      }
    }

    // How it is turned

    /** @param {number} yaw @param {number} pitch */
    function move(yaw, pitch) {
      at.yaw += yaw;
      at.pitch = Math.min(Math.max(at.pitch + pitch, -Math.PI / 2), Math.PI / 2);
      draw();
    }

    /** @param {number} factor */
    function zoom(factor) {
      at.zoom = Math.min(Math.max(at.zoom * factor, 0.4), 6);
      draw();
    }

    function reset() {
      Object.assign(at, START);
      draw();
    }

    /** @param {boolean} on */
    function setTurning(on) {
      turning = on && !still.matches;
      spin.hidden = still.matches;
      spin.setAttribute("aria-pressed", String(turning));
      draw();
    }

    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => move(STEP, 0), ArrowRight: () => move(-STEP, 0), ArrowUp: () => move(0, -STEP),
      ArrowDown: () => move(0, STEP), "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15),
      0: reset, Home: reset,
    };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      setTurning(false);
      keys[event.key]();
    });

    // One finger or the mouse turns, two fingers zoom; a finger that goes up or down scrolls the page.
    /** @type {Map<number, { x: number, y: number }>} */
    const fingers = new Map();
    const apart = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      setTurning(false);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = { x: event.clientX, y: event.clientY };
      if (fingers.size === 2) {
        const distance = apart();
        fingers.set(event.pointerId, now);
        if (distance > 0) zoom(apart() / distance);
      } else {
        fingers.set(event.pointerId, now);
        move((now.x - before.x) * 0.01, (now.y - before.y) * 0.01);
      }
    });
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"]))
      canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // the wheel alone scrolls the page
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.005));
    }, { passive: false });

    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => paint.prepare() && draw());
    new ResizeObserver(draw).observe(stage);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    still.addEventListener("change", () => setTurning(turning));
    setTurning(false);
    choose();
  }

  /** @param {HTMLElement} place @param {string} words */
  function fallBack(place, words) {
    place.append(make("p", { className: "note", attributes: { role: "status" } }, words));
  }

  // ---- Loading: a script, because fetch() is closed to pages opened from a folder ------------------------------

  /** @type {Map<string, HTMLElement[]>} */
  const waiting = new Map();

  /** @type {any} */ (window).pcbenchClouds = (/** @type {string} */ key, /** @type {unknown} */ file) => {
    for (const place of waiting.get(key) ?? []) {
      try {
        view(place, decode(file));
      } catch (error) {
        fallBack(place, `The clouds cannot be shown (${/** @type {Error} */ (error).message}): a picture is shown instead.`);
      }
    }
    waiting.delete(key);
  };

  /** @param {HTMLElement} place */
  function load(place) {
    const { clouds: key = "", src = "" } = place.dataset;
    if (!/^(\.\.\/)*clouds\/[\w.-]+\.js$/.test(src)) return;
    const others = waiting.get(key);
    if (others) {
      others.push(place);
      return;
    }
    waiting.set(key, [place]);
    const script = make("script", { src });
    script.addEventListener("error", () => {
      for (const each of waiting.get(key) ?? []) fallBack(each, "The file of clouds is missing: a picture is shown instead.");
    });
    document.head.append(script);
  }

  // Clouds weigh up to megabytes: they are fetched when their viewer comes near the screen, or when it is asked for.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      load(/** @type {HTMLElement} */ (target));
    }
  }, { rootMargin: "300px" });
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".viewer[data-clouds][data-src]"))) {
    if (!("asked" in place.dataset)) {
      near.observe(place);
      continue;
    }
    const ask = button("Turn them, other classes", "Turn the clouds, choose other classes", () => {
      ask.remove();
      load(place);
    });
    place.append(ask);
  }
})();
