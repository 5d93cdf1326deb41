// The clip browser: the list on one side, the chosen clip on the other.

const PORTION = 200; // entries of the list that are made at once
const browser = { data: null, state: null, found: [], made: 0, drawn: "" };

const currentSet = () => browser.data.sets.find((set) => set.name === browser.state.set) ?? browser.data.sets[0];

function showBrowser(data, state) {
  Object.assign(browser, { data, state });
  const set = currentSet();
  document.querySelector(".browser").dataset.open = String(state.clip !== null);
  if (!set) {
    find("clip").replaceChildren(make("p", { class: "nothing", text: "There are no clips: no run has predictions." }));
    find("filters").hidden = true;
    document.querySelector(".browser").dataset.open = "true";
    return;
  }
  fillFilters(set);
  browser.found = selectedClips(set, state);
  drawList(set);
  const index = state.clip === null ? browser.found[0] : set.clips.findIndex((clip) => clip.id === state.clip);
  drawClip(set, index ?? -1);
}

function fillFilters(set) {
  const { state, data } = browser;
  const sounds = [...new Set(set.clips.flatMap((clip) => (clip.events ?? []).map((event) => event.name)))].sort();
  const kinds = [...new Set(set.clips.flatMap((clip) => clip.kinds ?? []))].sort();
  const metrics = [...new Set(set.outputs.flatMap((output) => Object.keys(output.scores)))];
  const outputs = set.outputs.map((output) => [outputKey(output), outputName(output)]);
  const [first, second] = comparedOutputs(set, state);
  if (document.activeElement !== find("query")) find("query").value = state.q ?? "";
  fillSelect(find("set"), data.sets.map((one) => [one.name, one.name]), set.name);
  fillSelect(find("sound"), [["", "any"], ...sounds.map((name) => [name, name])], state.sound ?? "");
  fillSelect(find("kind"), [["", "any"], ...kinds.map((name) => [name, name])], state.kind ?? "");
  fillSelect(find("order"), ORDERS, state.order ?? "");
  fillSelect(find("metric"), metrics.map((name) => [name, data.metrics[name] ?? name]), chosenMetric(set, state));
  fillSelect(find("first"), outputs, first && outputKey(first));
  fillSelect(find("second"), outputs, second && outputKey(second));
  find("sound").closest("label").hidden = !sounds.length;
  find("kind").closest("label").hidden = !kinds.length;
  find("set").closest("label").hidden = data.sets.length < 2;
  find("audible").checked = Boolean(state.audible);
  find("clear").hidden = !["q", "sound", "kind", "audible", "order"].some((name) => state[name]);
}

const outputName = (output) => `${output.label}, seed ${output.seed}${isPlain(output) ? "" : `, ${output.condition_label}`}`;

function drawList(set) {
  const total = set.clips.length;
  const { length } = browser.found;
  find("count").textContent = length === total ? `${total.toLocaleString("en")} clips` : `${length} of ${total} clips`;
  find("list").replaceChildren();
  browser.made = 0;
  growList(set, Math.max(PORTION, browser.found.findIndex((index) => set.clips[index].id === browser.state.clip) + 1));
}

function growList(set, upTo) {
  const metric = chosenMetric(set, browser.state);
  const [first, second] = comparedOutputs(set, browser.state);
  const both = ["lead", "behind"].includes(browser.state.order);
  const entries = browser.found.slice(browser.made, upTo).map((index) => {
    const clip = set.clips[index];
    const href = writeAddress({ ...browser.state, clip: clip.id });
    const scores = (both ? [first, second] : [first]).map((output) => shown(output?.scores[metric]?.[index] ?? null));
    const text = first?.captions[index] ?? clip.references[0] ?? "";
    const link = make("a", { href, "data-index": index });
    link.append(make("span", { class: "name", text: clip.id }), make("span", { class: "score", text: scores.join(" : ") }));
    link.append(make("span", { class: "text", text: text.slice(0, LONG), dir: "auto" }));
    return make("li", {}, link);
  });
  find("list").append(...entries);
  browser.made += entries.length;
  const rest = browser.found.length - browser.made;
  find("more").hidden = rest <= 0;
  find("more").textContent = `Show ${Math.min(rest, PORTION)} more`;
}

function drawClip(set, index) {
  const article = find("clip");
  const clip = set.clips[index];
  for (const link of find("list").querySelectorAll("a[aria-current]")) link.removeAttribute("aria-current");
  if (!clip) {
    const wanted = browser.state.clip;
    const text = wanted === null ? "No clip fits the search and the filters." : `There is no clip ${wanted} in ${set.name}.`;
    article.replaceChildren(make("p", { class: "nothing", text }));
    browser.drawn = "";
    return;
  }
  const current = find("list").querySelector(`a[data-index="${index}"]`);
  current?.setAttribute("aria-current", "true");
  current?.scrollIntoView({ block: "nearest" });
  const key = JSON.stringify([set.name, index]);
  if (browser.drawn !== key) {
    article.replaceChildren(clipHead(clip), ...clipFacts(set, clip), makePlayer(clip, browser.data.picture), ...clipTexts(set, clip, index));
    browser.drawn = key;
    paintDots(article);
  }
  updateHead(clip, index);
}

function clipHead(clip) {
  const head = make("div", { class: "clip-head" }, make("h2", { text: clip.id, dir: "auto" }), make("span", { class: "place", id: "place" }));
  const button = (text, label, action, id) => make("button", { type: "button", text, "aria-label": label, onclick: action, id });
  const steps = make("span", { class: "steps" });
  const list = button("List", "Back to the list", leaveClip, "back");
  list.className = "back";
  steps.append(list, button("←", "Previous clip", () => stepClip(-1), "previous"), button("→", "Next clip", () => stepClip(1), "next"));
  head.append(steps);
  return head;
}

function updateHead(clip, index) {
  const place = browser.found.indexOf(index);
  find("place").textContent = place < 0 ? "not among those listed" : `${place + 1} of ${browser.found.length}`;
  find("previous").disabled = place === 0;
  find("next").disabled = place === browser.found.length - 1;
}

function clipFacts(set, clip) {
  const facts = [isNumber(clip.seconds) ? `${clip.seconds.toFixed(1)} s` : null, set.name, ...(clip.kinds ?? []), clip.licence];
  const list = make("ul", { class: "facts" }, ...facts.filter(Boolean).map((text) => make("li", { text, dir: "auto" })));
  return [list];
}

function clipTexts(set, clip, index) {
  const known = new Set(clip.references.flatMap((text) => [...wordsOf(text)]));
  const references = make("ul", { class: "references" }, ...clip.references.map((text) => make("li", { text, dir: "auto" })));
  const none = make("p", { class: "why", text: set.reason || "No references are known for this clip." });
  const highest = (set.highest ??= highestScores(set));
  const draw = (outputs) => outputs.map((output) => saidBy(output, index, clip, known, browser.data.metrics, highest));
  const { first, seeds, controls } = groupedOutputs(set.outputs);
  const check = make("input", { type: "checkbox" });
  check.checked = marking;
  check.addEventListener("change", () => {
    marking = check.checked;
    browser.drawn = "";
    drawClip(set, index);
    document.querySelector(".switch input")?.focus();
  });
  const toggle = known.size ? make("label", { class: "switch" }, check, "mark words that a reference has") : null;
  const parts = [make("h3", { text: "References" }), clip.references.length ? references : none, ...questionList(clip.questions)];
  parts.push(make("div", { class: "head-row" }, make("h3", { text: "Captions" }), toggle), ...draw(first));
  parts.push(foldedGroup("Other seeds", seeds, draw), foldedGroup("Controls", controls, draw));
  return parts.filter(Boolean);
}

function foldedGroup(title, outputs, draw) {
  if (!outputs.length) return null;
  const group = make("details", { class: "group" }, make("summary", { text: `${title} (${outputs.length})` }));
  group.addEventListener("toggle", () => {
    if (!group.open || group.children.length > 1) return;
    group.append(...draw(outputs));
    paintDots(group);
  });
  return group;
}

function highestScores(set) {
  const highest = {};
  for (const output of set.outputs) {
    for (const [metric, values] of Object.entries(output.scores)) {
      highest[metric] = values.reduce((most, value) => Math.max(most, value ?? 0), highest[metric] ?? 0);
    }
  }
  return highest;
}

function openClip(index) {
  location.hash = writeAddress({ ...browser.state, clip: currentSet().clips[index].id });
}

function stepClip(by) {
  const set = currentSet();
  const shownIndex = browser.state.clip === null ? browser.found[0] : set.clips.findIndex((clip) => clip.id === browser.state.clip);
  const place = browser.found.indexOf(shownIndex);
  const next = browser.found[place < 0 ? 0 : place + by];
  if (next !== undefined) openClip(next);
}

const leaveClip = () => {
  location.hash = writeAddress({ ...browser.state, view: "clips", clip: null });
};

// A filter changes what is listed at once, and the address without a step in the history.
function setFilter(name, value) {
  const state = { ...browser.state, [name]: value || undefined };
  if (name === "set") Object.assign(state, { clip: null, view: "clips", sound: undefined, kind: undefined, first: undefined, second: undefined, metric: undefined });
  history.replaceState(null, "", writeAddress(state));
  showBrowser(browser.data, state);
}

function listenToFilters() {
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("query").addEventListener("input", (event) => setFilter("q", event.target.value));
  for (const name of ["set", "sound", "kind", "order", "metric", "first", "second"]) {
    find(name).addEventListener("change", (event) => setFilter(name, event.target.value));
  }
  find("audible").addEventListener("change", (event) => setFilter("audible", event.target.checked ? "1" : ""));
  find("more").addEventListener("click", () => growList(currentSet(), browser.made + PORTION));
  find("clear").addEventListener("click", () => {
    find("query").value = "";
    const state = { ...browser.state };
    for (const name of ["q", "sound", "kind", "audible", "order"]) delete state[name];
    history.replaceState(null, "", writeAddress(state));
    showBrowser(browser.data, state);
    find("query").focus();
  });
  find("refine").open = matchMedia("(min-width: 60.01rem) and (min-height: 50rem)").matches;
}
