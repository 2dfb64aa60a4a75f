// The filter of the list of runs: completes the word that is being typed.

import { make } from "./tako.js";

const MOST = 40;
const words = [...document.querySelectorAll("#words option")].map((option) => option.textContent);

document.addEventListener("input", (event) => {
  const box = /** @type {HTMLInputElement} */ (event.target);
  if (box.id !== "filter") return;
  const begin = box.value.lastIndexOf(" ") + 1;
  const typed = box.value.slice(begin).replace(/^-/, "");
  const before = box.value.slice(0, box.value.length - typed.length);
  const fitting = words.filter((word) => word.startsWith(typed) && word !== typed).slice(0, MOST);
  document.getElementById("words").replaceChildren(...fitting.map((word) => make("option", { value: before + word })));
});
