// Distilled clouds in three dimensions: a class and one of its clouds, before and after distillation and beside its
// nearest real cloud, turned together by mouse, finger and keyboard. Where WebGL is missing the picture stays.
"use strict";

(() => {
  const SETS = [
    ["initial", "initial"],
    ["distilled", "distilled"],
    ["neighbour", "nearest real cloud"],
  ];
  const FARTHEST = 1.5; // clouds are normalised to the unit ball; what a method threw farther is cut off
  const RAMP = [[70, 51, 127], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 193, 109], [141, 205, 62]];
  const RAMP_ON_DARK = [[134, 116, 214], [92, 142, 214], [62, 166, 186], [56, 190, 150], [110, 212, 110], [200, 226, 90]];
  const MOST = { classes: 1000, ppc: 1000, points: 100000, values: 5e7 };
  const START = { yaw: 0.6, pitch: 0.35, zoom: 1 };
  const STEP = Math.PI / 24;

  // ---- The file of clouds: written by whoever built the site, and still checked ------------------------------

  const whole = (value, most) => Number.isInteger(value) && value >= 1 && value <= most;

  /** The sets as arrays of int16 of (classes, ppc, points, 3), or an Error that says what is wrong. */
  function decode(file) {
    const { classes, ppc, points, scale, sets, up = "y" } = file ?? {};
    if (!Array.isArray(classes) || !whole(classes.length, MOST.classes) || !classes.every((name) => typeof name === "string"))
      throw new Error("no list of classes");
    if (!whole(ppc, MOST.ppc) || !whole(points, MOST.points)) throw new Error("counts out of range");
    if (!Number.isFinite(scale) || scale <= 0) throw new Error("no scale");
    if (!"xyz".includes(up) || up.length !== 1) throw new Error("no such axis");
    const values = classes.length * ppc * points * 3;
    if (values > MOST.values) throw new Error("too many points");
    const decoded = new Map();
    for (const [key] of SETS) {
      const text = sets?.[key];
      if (text === undefined || text === null) continue;
      if (typeof text !== "string" || text.length !== 4 * Math.ceil((values * 2) / 3)) throw new Error(`${key}: wrong length`);
      const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      if (bytes.length !== values * 2) throw new Error(`${key}: wrong length`);
      const view = new DataView(bytes.buffer);
      decoded.set(key, Int16Array.from({ length: values }, (_, place) => view.getInt16(2 * place, true)));
    }
    if (decoded.size === 0) throw new Error("no clouds");
    return { classes, ppc, points, unit: scale / 32767, sets: decoded, up: "xyz".indexOf(up) };
  }

  /** One cloud as (points, 4): x to the right, y up, z to the viewer, and its height from 0 to 1 for the colour. */
  function cloud(clouds, key, label, copy) {
    const { points, ppc, unit, up } = clouds;
    const values = clouds.sets.get(key);
    const from = (label * ppc + copy) * points * 3;
    const out = new Float32Array(points * 4);
    for (let point = 0; point < points; point += 1)
      for (let axis = 0; axis < 3; axis += 1) out[4 * point + axis] = values[from + 3 * point + ((up + 2 + axis) % 3)] * unit;
    const heights = Float32Array.from({ length: points }, (_, point) => out[4 * point + 1]).sort();
    const [low, high] = [heights[Math.floor(0.02 * (points - 1))], heights[Math.ceil(0.98 * (points - 1))]];
    for (let point = 0; point < points; point += 1)
      out[4 * point + 3] = Math.min(Math.max((out[4 * point + 1] - low) / Math.max(high - low, 1e-9), 0), 1);
    return out;
  }

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
      float depth = 4.0 - p.z;
      gl_Position = vec4(p.xy * fit * 3.7, (depth - 4.0) * 0.3 * depth, depth);
      gl_PointSize = max(ball * 4.0 / depth, 1.0);
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

  /** A program with its buffer on a canvas, or null where the browser has no WebGL. */
  function painter(canvas) {
    const gl = canvas.getContext("webgl", { antialias: true, alpha: false });
    if (!gl) return null;
    let program, buffer, places;

    function prepare() {
      program = gl.createProgram();
      for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return false;
      gl.useProgram(program);
      buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
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

    /** The clouds side by side, at one scale. view: yaw, pitch in radians, zoom. */
    function paint(clouds, reach, view, ground, ramp) {
      const { width, height } = canvas;
      const column = width / clouds.length;
      const side = Math.min(column, height);
      gl.uniform2f(places.turn, Math.cos(view.yaw), Math.sin(view.yaw));
      gl.uniform2f(places.tilt, Math.cos(view.pitch), Math.sin(view.pitch));
      gl.uniform2f(places.fit, (0.92 * view.zoom * side) / column, (0.92 * view.zoom * side) / height);
      gl.uniform1f(places.reach, reach);
      gl.uniform3fv(places.ramp, ramp.flat().map((level) => level / 255));
      gl.uniform3fv(places.ground, ground);
      clouds.forEach((points, number) => {
        const left = Math.round(number * column);
        const right = Math.round((number + 1) * column);
        gl.viewport(left, 0, right - left, height);
        gl.scissor(left, 0, right - left, height);
        gl.clearColor(...ground, 1);
        gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
        gl.uniform1f(places.ball, Math.min(0.85 / Math.sqrt(points.length / 4), 0.05) * side * view.zoom);
        gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
        gl.drawArrays(gl.POINTS, 0, points.length / 4);
      });
    }

    return prepare() ? { prepare, paint, lost: () => gl.isContextLost() } : null;
  }

  // ---- A viewer: controls, canvas, words ---------------------------------------------------------------------

  function make(tag, { attributes = {}, ...properties } = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const button = (words, name, press) =>
    make("button", { type: "button", onclick: press, title: name, attributes: { "aria-label": name } }, words);

  function chooser(label, names, change) {
    const field = make("select", {}, ...names.map((name, place) => make("option", { value: String(place) }, name)));
    field.addEventListener("change", change);
    return { field, label: make("label", {}, label, field), get place() { return field.selectedIndex; } };
  }

  /** The colour of an element's ground as three levels from 0 to 1. */
  function groundOf(element) {
    const levels = getComputedStyle(element).backgroundColor.match(/[\d.]+/g)?.slice(0, 3).map(Number) ?? [255, 255, 255];
    return levels.map((level) => level / 255);
  }

  function view(place, clouds) {
    const canvas = make("canvas", { tabIndex: 0, attributes: { role: "application" } });
    const paint = painter(canvas);
    if (!paint) return fallBack(place, "This browser has no WebGL: a picture is shown instead.");

    const present = SETS.filter(([key]) => clouds.sets.has(key));
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const at = { ...START };
    let shown = present;
    let drawn = [];
    let asked = 0;
    let turning = false;

    const label = chooser("Class", clouds.classes, choose);
    const copy = chooser("Cloud", Array.from({ length: clouds.ppc }, (_, number) => `${number + 1} of ${clouds.ppc}`), choose);
    const views = (present.length > 1 ? [["all", "side by side"], ...present] : []).map(([key, words]) => {
      const each = button(words, `Show ${words}`, () => {
        shown = key === "all" ? present : present.filter(([name]) => name === key);
        choose();
      });
      return { key, each };
    });
    const spin = button("Turn", "Turn slowly", () => setTurning(!turning));
    const names = make("ul", { className: "names" });
    const status = make("p", { attributes: { role: "status" } });
    const tools = make("div", { className: "toolbar", attributes: { role: "group", "aria-label": "Clouds shown" } },
      label.label, ...(clouds.ppc > 1 ? [copy.label] : []), ...views.map(({ each }) => each));
    const handles = make("div", { className: "toolbar", attributes: { role: "group", "aria-label": "View" } },
      button("←", "Turn left", () => move(-STEP, 0)), button("→", "Turn right", () => move(STEP, 0)),
      button("↑", "Tilt up", () => move(0, -STEP)), button("↓", "Tilt down", () => move(0, STEP)),
      button("+", "Nearer", () => zoom(1.15)), button("−", "Farther", () => zoom(1 / 1.15)),
      button("Reset", "Reset the view", reset), spin);
    place.prepend(tools, make("div", { className: "stage" }, canvas), names, handles, status);
    place.querySelector("img").hidden = true;

    // What is shown

    function choose() {
      drawn = shown.map(([key]) => cloud(clouds, key, label.place, copy.place));
      names.replaceChildren(...shown.map(([, words]) => make("li", {}, words)));
      for (const { key, each } of views)
        each.setAttribute("aria-pressed", String(key === (shown.length === present.length ? "all" : shown[0][0])));
      const which = clouds.ppc > 1 ? `, cloud ${copy.place + 1} of ${clouds.ppc}` : "";
      const words = `${clouds.classes[label.place]}${which}: ${shown.map(([, each]) => each).join(", ")}`;
      canvas.setAttribute("aria-label", `3D view of ${words}. Arrow keys turn it, plus and minus zoom, 0 resets.`);
      status.textContent = `${words}. ${clouds.points} points each, coloured by height.`;
      draw();
    }

    /** Draws once before the next frame, however often it is asked. */
    function draw() {
      if (!asked) asked = requestAnimationFrame(frame);
    }

    function frame() {
      asked = 0;
      if (paint.lost()) return;
      const density = Math.min(devicePixelRatio || 1, 3);
      const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((length) => Math.max(1, Math.round(length * density)));
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const ground = groundOf(canvas.parentElement);
      const dark = ground[0] + ground[1] + ground[2] < 1.5;
      const reach = Math.min(Math.max(1, ...drawn.map(radius)), FARTHEST);
      paint.paint(drawn, reach, at, ground, dark ? RAMP_ON_DARK : RAMP);
      if (turning) {
        at.yaw += 0.008;
        draw();
      }
    }

    // How it is turned

    function move(yaw, pitch) {
      at.yaw += yaw;
      at.pitch = Math.min(Math.max(at.pitch + pitch, -Math.PI / 2), Math.PI / 2);
      draw();
    }

    function zoom(factor) {
      at.zoom = Math.min(Math.max(at.zoom * factor, 0.4), 6);
      draw();
    }

    function reset() {
      Object.assign(at, START);
      draw();
    }

    function setTurning(on) {
      turning = on && !still.matches;
      spin.hidden = still.matches;
      spin.setAttribute("aria-pressed", String(turning));
      draw();
    }

    const keys = {
      ArrowLeft: () => move(-STEP, 0), ArrowRight: () => move(STEP, 0), ArrowUp: () => move(0, -STEP),
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
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // the wheel alone scrolls the page
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.005));
    }, { passive: false });

    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => paint.prepare() && draw());
    new ResizeObserver(draw).observe(canvas);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    still.addEventListener("change", () => setTurning(turning));
    setTurning(false);
    choose();
  }

  function fallBack(place, words) {
    place.append(make("p", { className: "note", attributes: { role: "status" } }, words));
  }

  // ---- Loading: a script, because fetch() is closed to pages opened from a folder ------------------------------

  const waiting = new Map();

  window.pcbenchClouds = (key, file) => {
    for (const place of waiting.get(key) ?? []) {
      try {
        view(place, decode(file));
      } catch (error) {
        fallBack(place, `The clouds cannot be shown (${error.message}): a picture is shown instead.`);
      }
    }
    waiting.delete(key);
  };

  function load(place) {
    const { clouds: key, src } = place.dataset;
    if (!/^(\.\.\/)*clouds\/[\w-]+\.js$/.test(src)) return;
    if (waiting.has(key)) {
      waiting.get(key).push(place);
      return;
    }
    waiting.set(key, [place]);
    const script = make("script", { src });
    script.addEventListener("error", () => {
      for (const each of waiting.get(key) ?? []) fallBack(each, "The file of clouds is missing: a picture is shown instead.");
    });
    document.head.append(script);
  }

  // Clouds weigh up to megabytes: they are fetched when their viewer comes near the screen.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      load(target);
    }
  }, { rootMargin: "300px" });
  for (const place of document.querySelectorAll(".viewer[data-clouds][data-src]")) near.observe(place);
})();
