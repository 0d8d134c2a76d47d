// @ts-check
// Asks every second whether the site was built again; a script tag, for the pages allow no other request.
"use strict";

/** @type {number | null} */
let known = null;

/** @type {any} */ (window).pcbenchLive = (/** @type {number} */ version) => {
  if (known !== null && known !== version) location.reload();
  known = version;
};
setInterval(() => {
  const asked = document.createElement("script");
  asked.src = "/_live/version.js?" + Date.now();
  asked.onload = asked.onerror = () => asked.remove();
  document.head.append(asked);
}, 1000);
