"use strict";
// The paired browser. Label maps are bytes: class ids, 255 = void. Counts of pixels are those of the full-size images.

const data = JSON.parse(document.getElementById("data").textContent);
const VOID = 255;
const SHADES = {
  both: { name: "both right", color: [236, 236, 236] },
  a: { name: "only A right", color: [0, 114, 178] },
  b: { name: "only B right", color: [230, 159, 0] },
  same: { name: "both wrong, alike", color: [130, 130, 130] },
  different: { name: "both wrong, differently", color: [40, 40, 40] },
};
const state = { a: 0, b: 0, class: -1, sort: "a", image: "" }; // a, b: index of a run; class: -1 = all
let shown = []; // {image, a, b, difference}, in the order of the strip
let drawing = 0; // counts what was asked to be drawn: only the last is

const element = (id) => document.getElementById(id);

function make(tag, text = "", attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  if (text) made.append(text);
  return made;
}

// --- scores ---

function iou(image, run, index) {
  const correct = image.correct[run][index];
  const union = image.labelled[index] + image.predicted[run][index] - correct;
  return union > 0 ? correct / union : null;
}

// IoU of one class, or the mean over the classes in labels or predictions; null where there is none
function score(image, run) {
  if (state.class >= 0) return iou(image, run, state.class);
  const found = data.classes.map((_, index) => iou(image, run, index)).filter((value) => value !== null);
  return found.length ? found.reduce((sum, value) => sum + value, 0) / found.length : null;
}

const isLabelled = (image) => image.labelled.some((count) => count > 0);

function ordered() {
  const holds = (image) => (state.class < 0 ? isLabelled(image) : image.labelled[state.class] > 0);
  const rows = data.images.filter(holds).map((image) => ({ image, a: score(image, state.a), b: score(image, state.b) }));
  for (const row of rows) row.difference = row.a - row.b;
  const key = { a: (row) => -row.difference, b: (row) => row.difference, most: (row) => -Math.abs(row.difference) }[state.sort];
  return rows.sort((one, other) => key(one) - key(other));
}

const percent = (value) => (100 * value).toFixed(1);
const signed = (value) => (value < 0 ? "−" : "+") + percent(Math.abs(value));

function runName(index) {
  const run = data.runs[index];
  return run.of > 1 ? `${run.method}, seed ${run.seed}` : run.method;
}

// --- pixels ---

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// colorOf(pixel) is [red, green, blue], or null: transparent
function paint(canvas, image, colorOf) {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(image.width, image.height);
  for (let pixel = 0; pixel < image.width * image.height; pixel++) {
    const color = colorOf(pixel);
    if (color) pixels.data.set([color[0], color[1], color[2], 255], 4 * pixel);
  }
  context.putImageData(pixels, 0, 0);
}

function rgb(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

// With a class chosen, only the pixels where label, A or B are of that class have a shade.
function shade(label, a, b) {
  if (label === VOID) return null;
  if (state.class >= 0 && ![label, a, b].includes(state.class)) return null;
  if (a === label) return b === label ? SHADES.both.color : SHADES.a.color;
  if (b === label) return SHADES.b.color;
  return a === b ? SHADES.same.color : SHADES.different.color;
}

async function draw(row) {
  const turn = ++drawing;
  const { image } = row;
  const packed = [image.label, image.predictions[state.a], image.predictions[state.b]];
  const [label, a, b] = await Promise.all(packed.map(unpack));
  if (turn !== drawing) return;
  const palette = data.classes.map((each) => rgb(each.color));
  for (const [id, ids] of Object.entries({ label, a, b })) {
    paint(element(id), image, (pixel) => palette[ids[pixel]] || [0, 0, 0]);
  }
  paint(element("disagreement"), image, (pixel) => shade(label[pixel], a[pixel], b[pixel]));
  element("image").src = `data:image/jpeg;base64,${image.jpeg}`;
  element("view").dataset.drawn = [image.id, state.a, state.b, state.class].join(" ");
}

// --- the page ---

function describe(row, place) {
  const what = state.class < 0 ? "mean IoU" : `IoU of ${data.classes[state.class].name}`;
  const names = { a: `A: ${runName(state.a)}`, b: `B: ${runName(state.b)}` };
  element("scores").textContent =
    `${place + 1} of ${shown.length}: ${row.image.id}. ` +
    `${what} A ${percent(row.a)}, B ${percent(row.b)}, difference ${signed(row.difference)} points`;
  for (const side of ["a", "b"]) {
    element(`caption-${side}`).textContent = `${names[side]} (${percent(row[side])})`;
    element(side).setAttribute("aria-label", `Prediction of ${names[side]} for ${row.image.id}`);
  }
  element("image").alt = `Image ${row.image.id}`;
  element("label").setAttribute("aria-label", `Label of ${row.image.id}`);
  element("disagreement").setAttribute("aria-label", `Where A and B are right or wrong in ${row.image.id}`);
}

function fillStrip() {
  const buttons = shown.map((row) => {
    const button = make("button", "", { type: "button", title: row.image.id });
    button.append(make("img", "", { alt: row.image.id, src: `data:image/jpeg;base64,${row.image.thumbnail}` }), signed(row.difference));
    button.addEventListener("click", () => show(row.image.id));
    return button;
  });
  element("strip").replaceChildren(...buttons);
}

function markStrip(place) {
  const strip = element("strip");
  [...strip.children].forEach((button, index) => {
    if (index === place) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
  const current = strip.children[place];
  strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
}

// Shows one image of the strip: that of the id, or the first.
function show(id) {
  element("view").hidden = !shown.length;
  if (!shown.length) return;
  const place = Math.max(0, shown.findIndex((row) => row.image.id === id));
  const row = shown[place];
  state.image = row.image.id;
  describe(row, place);
  markStrip(place);
  element("previous").disabled = place === 0;
  element("next").disabled = place === shown.length - 1;
  keepState();
  draw(row);
}

// Works out the order anew, after another choice of runs, class or order; opens on the first image unless one is named.
function update(image = "") {
  shown = ordered();
  const without = data.images.filter((image) => !isLabelled(image)).length;
  const leftOut = without ? `, ${without} of them without a labelled pixel and left out` : "";
  const held = state.class < 0 ? "" : ` ${shown.length} of them hold ${data.classes[state.class].name}.`;
  element("count").textContent = `${data.images.length} of ${data.total} test images${leftOut}.${held}`;
  for (const [id, key] of [["run-a", "a"], ["run-b", "b"], ["class", "class"], ["sort", "sort"]]) element(id).value = state[key];
  fillStrip();
  show(image);
}

function step(by) {
  const place = shown.findIndex((row) => row.image.id === state.image) + by;
  if (place >= 0 && place < shown.length) show(shown[place].image.id);
}

function stepClass(by) {
  const options = [...element("class").options].filter((option) => !option.disabled).map((option) => Number(option.value));
  const place = (options.indexOf(state.class) + by + options.length) % options.length;
  state.class = options[place];
  update();
}

// --- the address ---

function keepState() {
  try {
    history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  } catch {
    // a page within another one may have no address of its own
  }
}

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const index = (key, lowest, count) => {
    const value = Number(given.get(key));
    if (given.get(key) && Number.isInteger(value) && value >= lowest && value < count) state[key] = value;
  };
  index("a", 0, data.runs.length);
  index("b", 0, data.runs.length);
  index("class", -1, data.classes.length);
  if (["a", "b", "most"].includes(given.get("sort"))) state.sort = given.get("sort");
  return given.get("image") || state.image;
}

// --- the start ---

function fillChoices() {
  for (const id of ["run-a", "run-b"]) {
    element(id).replaceChildren(...data.runs.map((_, index) => make("option", runName(index), { value: index })));
  }
  const held = data.classes.map((_, index) => data.images.filter((image) => image.labelled[index] > 0).length);
  const classes = data.classes.map(({ name }, index) =>
    make("option", `IoU of ${name} (${held[index]} images)`, { value: index, disabled: !held[index] }));
  element("class").replaceChildren(make("option", "mean IoU of all classes", { value: -1 }), ...classes);
}

function fillLegends() {
  const entry = ([name, color]) => {
    const item = make("li");
    const swatch = make("span", "", { className: color ? "swatch" : "swatch transparent" });
    swatch.style.background = color;
    item.append(swatch, name);
    return item;
  };
  const classes = data.classes.map(({ name, color }) => [name, color]);
  element("classes").replaceChildren(...[...classes, ["void", "#000000"]].map(entry));
  const shades = Object.values(SHADES).map(({ name, color }) => [name, `rgb(${color.join(" ")})`]);
  element("shades").replaceChildren(...[...shades, ["void, or of no matter to the chosen class", ""]].map(entry));
}

function listen() {
  const chosen = (id, key, read) => element(id).addEventListener("change", (event) => {
    state[key] = read(event.target.value);
    update();
  });
  chosen("run-a", "a", Number);
  chosen("run-b", "b", Number);
  chosen("class", "class", Number);
  chosen("sort", "sort", String);
  const acts = { previous: () => step(-1), next: () => step(1), "class-before": () => stepClass(-1), "class-after": () => stepClass(1) };
  for (const [id, act] of Object.entries(acts)) element(id).addEventListener("click", act);
  const keys = { ArrowLeft: acts.previous, ArrowRight: acts.next, "[": acts["class-before"], "]": acts["class-after"] };
  document.addEventListener("keydown", (event) => {
    const command = (event.altKey || event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph"); // a bracket may need AltGr
    if (command || event.target.closest("select, .scroll") || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("hashchange", () => update(readState()));
}

if (data) {
  state.b = Math.max(0, data.runs.findIndex((run) => run.method !== data.runs[0].method));
  if (state.b === 0) state.b = data.runs.length - 1; // one method: its repetitions
  fillChoices();
  fillLegends();
  listen();
  update(readState());
}
