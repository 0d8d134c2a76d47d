// @ts-check
// Charts as files: each figure gets two buttons that write what is on the screen, as SVG or as PNG. The colours of the
// theme are written into the file, which is then complete by itself. Without this script every chart is there.
"use strict";

(() => {
  const STYLES = [
    "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order", "font-size",
    "font-weight", "font-family", "text-anchor",
  ];
  const SCALE = 2; // pixels of a PNG for each one of the chart
  const SPACE = "http://www.w3.org/2000/svg";

  /** The drawing of a figure that is on the screen: there is one for wide screens and one for narrow ones. @param {Element} figure */
  function shown(figure) {
    const drawings = /** @type {NodeListOf<SVGSVGElement>} */ (figure.querySelectorAll("svg:not(.key svg)"));
    return [...drawings].find((each) => each.getClientRects().length > 0) ?? drawings[0];
  }

  /** A drawing with all that the style sheet gives it, on the page's ground. @param {SVGSVGElement} drawing */
  function complete(drawing) {
    const copy = /** @type {SVGSVGElement} */ (drawing.cloneNode(true));
    const { width, height } = drawing.viewBox.baseVal;
    const [from, to] = [drawing, copy].map((each) => [...each.querySelectorAll("*")]);
    from.forEach((element, place) => {
      const style = getComputedStyle(element);
      for (const name of STYLES) to[place].setAttribute(name, style.getPropertyValue(name));
      to[place].removeAttribute("class");
    });
    for (const link of copy.querySelectorAll("a")) link.replaceWith(...link.childNodes);
    for (const [name, value] of Object.entries({ xmlns: SPACE, width, height })) copy.setAttribute(name, String(value));
    copy.removeAttribute("class");
    const ground = document.createElementNS(SPACE, "rect");
    const fill = getComputedStyle(document.body).backgroundColor;
    for (const [name, value] of Object.entries({ width, height, fill })) ground.setAttribute(name, String(value));
    copy.prepend(ground);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  }

  /** @param {Blob} file @param {string} name */
  function save(file, name) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /** @param {{ text: string, width: number, height: number }} drawing @returns {Promise<Blob>} */
  async function painted({ text, width, height }) {
    const picture = new Image();
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    await picture.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: SCALE * width, height: SCALE * height });
    canvas.getContext("2d")?.drawImage(picture, 0, 0, canvas.width, canvas.height);
    return new Promise((done, failed) => {
      canvas.toBlob((file) => (file ? done(file) : failed(new Error("the browser wrote no picture"))));
    });
  }

  /** @type {Record<string, (drawing: { text: string, width: number, height: number }) => Promise<Blob>>} */
  const FORMATS = {
    SVG: async ({ text }) => new Blob([text], { type: "image/svg+xml" }),
    PNG: painted,
  };

  /** @param {HTMLElement} figure */
  function offer(figure) {
    const bar = Object.assign(document.createElement("p"), { className: "toolbar files" });
    const said = document.createElement("span");
    said.setAttribute("role", "status");
    const title = shown(figure).querySelector("title")?.textContent ?? "the chart";
    for (const [format, write] of Object.entries(FORMATS)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: format });
      button.setAttribute("aria-label", `Download as ${format}: ${title}`);
      button.addEventListener("click", async () => {
        const name = `${figure.dataset.chart}.${format.toLowerCase()}`;
        try {
          save(await write(complete(shown(figure))), name);
          said.textContent = `Wrote ${name}`;
        } catch (error) {
          said.textContent = `Not written: ${/** @type {Error} */ (error).message}`;
        }
      });
      bar.append(button);
    }
    bar.append(said);
    figure.append(bar);
  }

  for (const figure of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("figure.plot[data-chart]"))) offer(figure);
})();
