// The address says what is shown: a view, a clip, the filters. So any state can be linked to and gone back to.

const VIEWS = ["results", "charts", "clips", "about"];
const FILTERS = ["set", "q", "sound", "kind", "order", "metric", "first", "second", "audible"];

function readAddress() {
  const text = location.hash.slice(1);
  const parameters = new URLSearchParams(text);
  const state = { view: "results", clip: null };
  for (const name of FILTERS) if (parameters.has(name)) state[name] = parameters.get(name);
  if (parameters.has("clip")) return { ...state, view: "clips", clip: parameters.get("clip") };
  const word = text.split("&")[0];
  if (VIEWS.includes(word)) return { ...state, view: word };
  const target = word ? find(decoded(word)) : null; // a note of a table
  const view = target?.closest(".view");
  return view ? { ...state, view: view.id.replace("view-", ""), target } : state;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function writeAddress(state) {
  const parameters = new URLSearchParams();
  if (state.clip !== null) parameters.set("clip", state.clip);
  for (const name of FILTERS) if (state[name]) parameters.set(name, state[name]);
  const text = parameters.toString();
  return `#${[state.clip === null ? state.view : "", text].filter(Boolean).join("&")}`;
}
