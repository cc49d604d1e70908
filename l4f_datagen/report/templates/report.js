"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const form = document.getElementById("filters");
const panes = document.getElementById("panes");
const dialog = document.getElementById("sample");
const PAGE = 48;
const LAYERS = ["image", "alpha", "mask", "cutout"];  // stops of the slider
const VIEWS = [["outline", "mask outline on the image"], ["overlay", "matte over the image"]];
const limits = { accepted: PAGE, rejected: PAGE };
let shown = [];  // the samples on the page, in the order of the page
let opened = 0;  // index in shown of the sample in the dialog

function make(tag, props = {}, children = []) {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
}

function drawing(sample) {
  const tile = sample.tile;
  const pic = make("span", { className: "pic" + (tile.width <= 128 ? " small" : "") });
  pic.style.aspectRatio = `${tile.width} / ${tile.height}`;
  pic.style.setProperty("--alpha", `url("${tile.alpha}")`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${tile.width} ${tile.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  for (const name of ["halo", "line", "area"]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", name);
    path.setAttribute("d", tile.outline);
    svg.append(path);
  }
  svg.setAttribute("aria-hidden", "true");
  pic.append(make("img", { src: tile.image, alt: "", decoding: "async" }),
             make("span", { className: "tint" }), svg);
  return pic;
}

function scoreOf(sample, name) {
  return name === "worst" ? sample.worst : sample.scores[data.scores.indexOf(name)];
}

function rankOf(sample, name) {
  return name === "worst" ? sample.worst : sample.ranks[data.scores.indexOf(name)];
}

function chosen() {
  const fields = new FormData(form);
  const number = (name) => (fields.get(name) === "" ? null : Number(fields.get(name)));
  const psis = fields.getAll("psi").map(Number);
  const [score, reason, order] = ["score", "reason", "order"].map((name) => fields.get(name));
  const statuses = form.elements.status ? fields.getAll("status") : ["accepted"];
  const [low, high] = [number("low"), number("high")];
  const kept = data.samples.filter((sample) => {
    const value = scoreOf(sample, score);
    return psis.includes(sample.psi)
      && statuses.includes(sample.reason ? "rejected" : "accepted")
      && (!reason || !sample.reason || sample.reason === reason)
      && (low === null || (value !== null && value >= low))
      && (high === null || (value !== null && value <= high));
  });
  const orders = {
    worst: (a, b) => rankOf(b, score) - rankOf(a, score),
    high: (a, b) => scoreOf(b, score) - scoreOf(a, score),
    low: (a, b) => scoreOf(a, score) - scoreOf(b, score),
    plan: () => 0,
  };
  kept.sort((a, b) => orders[order](a, b) || a.image_id - b.image_id);
  return { kept, statuses, score };
}

function scoreText(sample, score) {
  // Of a sample that is sorted by all scores, the one in which it is worst is shown.
  const at = score === "worst" ? sample.ranks.indexOf(Math.max(...sample.ranks)) : data.scores.indexOf(score);
  if (at < 0) return "no score";
  const value = sample.scores[at];
  const text = value === null ? "not measured" : String(Number(value.toPrecision(3)));
  return `${text} ${data.scores[at].replaceAll("_", " ")}`;
}

function card(sample, score) {
  const says = make("span", { className: "says" }, [
    make("span", { textContent: `psi ${sample.psi}, seed ${sample.seed}` }),
    make("span", { className: "muted", textContent: scoreText(sample, score) }),
  ]);
  if (sample.reason) says.append(make("span", { className: "why", textContent: sample.reason.replaceAll("_", " ") }));
  const button = make("button", { type: "button", className: "card" },
                      sample.tile ? [drawing(sample), says] : [says]);
  button.dataset.key = sample.key;
  button.addEventListener("click", () => open(shown.indexOf(sample)));
  return make("li", {}, [button]);
}

function draw() {
  const { kept, statuses, score } = chosen();
  panes.dataset.view = new FormData(form).get("view");
  panes.style.setProperty("--side", `${form.elements.side.value}px`);
  shown = [];
  const counts = {};
  for (const status of ["accepted", "rejected"]) {
    const pane = document.getElementById(status);
    const mine = kept.filter((sample) => (sample.reason ? "rejected" : "accepted") === status);
    const cut = mine.slice(0, limits[status]);
    shown.push(...cut);
    counts[status] = cut.length;
    pane.hidden = !statuses.includes(status);
    pane.querySelector("[data-count]").textContent = mine.length;
    pane.querySelector("ul").replaceChildren(...cut.map((sample) => card(sample, score)));
    const more = pane.querySelector(".more button");
    more.hidden = cut.length === mine.length;
    more.textContent = `Show more (${mine.length - cut.length} left)`;
  }
  // Both panes side by side, each as wide as its number of samples asks for.
  const { accepted, rejected } = counts;
  panes.classList.toggle("both", Boolean(accepted && rejected));
  const part = Math.min(0.5, Math.max(1 / 6, rejected / (accepted + rejected)));
  panes.style.setProperty("--rejected", `${100 * part}%`);
  document.getElementById("count").textContent = `${kept.length} of ${data.samples.length} samples fit.`;
}

function open(index) {
  const sample = shown[opened = index];
  const tile = sample.tile;
  const title = document.getElementById("sample-title");
  title.textContent = sample.key;
  title.href = `#${sample.key}`;
  history.replaceState(null, "", title.href);
  document.getElementById("sample-status").textContent =
    sample.reason ? `rejected: ${sample.reason.replaceAll("_", " ")}` : "accepted";
  document.getElementById("command").textContent = sample.command;
  document.getElementById("copy").textContent = "Copy";
  const figure = (view, words) => {
    const shape = make("figure", {}, [drawing(sample), make("figcaption", { textContent: words })]);
    shape.dataset.view = view;
    shape.setAttribute("aria-label", `${words}, ${sample.key}`);
    return shape;
  };
  const views = tile ? VIEWS.map(([view, words]) => figure(view, words))
    : [make("p", { textContent: "The image of this sample was not kept; the command makes it." })];
  document.getElementById("stack").replaceChildren(...(tile ? LAYERS.map((view) => {
    const layer = make("div", { className: "layer" }, [drawing(sample)]);
    layer.dataset.view = view;
    return layer;
  }) : []));
  document.getElementById("slide").hidden = !tile;
  blend();
  document.getElementById("views").replaceChildren(...views);
  const size = document.getElementById("sample-size");
  size.replaceChildren(tile ? `${tile.width} × ${tile.height} px. ` : "");
  if (tile && tile.coarse > 1) size.append(`Outline drawn on a grid of ${tile.coarse} px. `);
  for (const part of ["image", "mask", "alpha"]) {
    const path = tile && tile.files[part];
    if (path) size.append(make("a", { href: path, textContent: `${part} file` }), " ");
  }
  document.getElementById("score-rows").replaceChildren(...data.scores.map((name, at) => make("tr", {}, [
    make("th", { scope: "row", textContent: name.replaceAll("_", " ") }),
    make("td", { textContent: sample.scores[at] === null ? "–" : sample.scores[at] }),
    make("td", { textContent: `${Math.floor(100 * sample.ranks[at])} %` }),
  ])));
  document.getElementById("before").disabled = index === 0;
  document.getElementById("after").disabled = index === shown.length - 1;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function blend() {
  const at = Number(document.getElementById("blend").value);
  document.querySelectorAll("#stack .layer").forEach((layer, place) => {
    layer.style.opacity = Math.min(1, Math.max(0, 1 + at - place));
  });
  document.getElementById("blend").setAttribute("aria-valuetext", LAYERS[Math.round(at)]);
}

function step(by) {
  if (shown[opened + by]) open(opened + by);
}

function openLinked() {
  const key = decodeURIComponent(location.hash.slice(1));
  if (!data.samples.some((sample) => sample.key === key)) return;
  if (!shown.some((sample) => sample.key === key)) {  // hidden by filters or below "Show more"
    form.reset();
    limits.accepted = limits.rejected = data.samples.length;
    draw();
  }
  open(shown.findIndex((sample) => sample.key === key));
}

form.addEventListener("input", () => {
  limits.accepted = limits.rejected = PAGE;
  draw();
});
form.addEventListener("reset", () => setTimeout(draw));
form.addEventListener("submit", (event) => event.preventDefault());
for (const status of ["accepted", "rejected"]) {
  document.querySelector(`#${status} .more button`).addEventListener("click", () => {
    const first = limits[status];
    limits[status] += PAGE;
    draw();
    document.querySelectorAll(`#${status} .card`)[first]?.focus();
  });
}
document.getElementById("before").addEventListener("click", () => step(-1));
document.getElementById("after").addEventListener("click", () => step(1));
document.getElementById("close").addEventListener("click", () => dialog.close());
document.getElementById("copy").addEventListener("click", async (event) => {
  const command = document.getElementById("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    event.target.textContent = "Copied";
  } catch {  // some browsers keep the clipboard from pages opened from disk
    getSelection().selectAllChildren(command);
    event.target.textContent = "Marked";
  }
});
document.getElementById("blend").addEventListener("input", blend);
dialog.addEventListener("keydown", (event) => {
  if (event.target.id === "blend") return;  // there the arrows move the slider
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
panes.addEventListener("keydown", (event) => {
  const cards = [...panes.querySelectorAll(".card")];
  const at = cards.indexOf(event.target);
  const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: cards.length - 1 }[event.key];
  if (at < 0 || !cards[next]) return;
  event.preventDefault();
  cards[next].focus();
});
addEventListener("hashchange", openLinked);
dialog.addEventListener("close", () => {
  history.replaceState(null, "", location.pathname);
  document.querySelector(`[data-key="${shown[opened].key}"]`)?.focus();
});
draw();
openLinked();
